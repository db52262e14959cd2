"""Serves Keystone's public API on a free port of 127.0.0.1, which it prints, until its standard input ends.

The settings are where OS_KEYSTONE_CONFIG_DIR says.
"""

import os
import sys
import threading

import waitress

from keystone.server import wsgi


def end_with_input():
    sys.stdin.read()
    os._exit(0)


server = waitress.create_server(wsgi.initialize_public_application(), listen="127.0.0.1:0", threads=2)
print(server.effective_port, flush=True)
threading.Thread(target=end_with_input, daemon=True).start()
server.run()
