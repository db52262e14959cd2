"""The usual consumer: oslo.messaging's notification listener, doing nothing with the message.

Ceilometer's agent is built on the same listener with the same settings: an executor of threads, an acknowledgement for
each message. Usage: listener.py TRANSPORT_URL QUEUE MESSAGES; the queue is durable, as with amqp_durable_queues.
"""

import sys
import threading

from oslo_config import cfg
import oslo_messaging

url, queue, messages = sys.argv[1], sys.argv[2], int(sys.argv[3])
done = threading.Event()


class Endpoint:
    received = 0

    def info(self, context, publisher_id, event_type, payload, metadata):
        Endpoint.received += 1
        if Endpoint.received == messages:
            done.set()
        return oslo_messaging.NotificationResult.HANDLED


conf = cfg.ConfigOpts()
conf([])
transport = oslo_messaging.get_notification_transport(conf, url)
conf.set_override("amqp_durable_queues", True, group="oslo_messaging_rabbit")
target = oslo_messaging.Target(exchange="keystone", topic=queue.removesuffix(".info"))
listener = oslo_messaging.get_notification_listener(transport, [target], [Endpoint()], executor="threading")
print("consuming", flush=True)
listener.start()
done.wait()
print("done", flush=True)
listener.stop()
listener.wait()
threading.Event().wait()
