"""Serves Keystone's public API on the socket that is its standard input; says so on its standard output.

The settings are where OS_KEYSTONE_CONFIG_DIR says.
"""

import socket

import waitress

from keystone.server import wsgi

server = waitress.create_server(
    wsgi.initialize_public_application(), sockets=[socket.socket(fileno=0)], threads=2
)
print("serving", flush=True)
server.run()
