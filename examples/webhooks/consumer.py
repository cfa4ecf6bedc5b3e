"""A webhook receiver with nothing but Python's standard library.

    CHAINWATCH_WEBHOOK_SECRET=whsec_… python examples/webhooks/consumer.py [port]

Checks each message, answers at once, and handles each message once, however often it comes.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["CHAINWATCH_WEBHOOK_SECRET"]
TOLERANCE_S = 300  # an old message that somebody recorded and sends again is refused
MAX_BODY = 64 * 1024


def verified(headers, body: bytes) -> bool:
    """Is one of the signatures ours, over this id, this time and this body?"""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # Several signatures: while a secret is being rotated.
    return any(hmac.compare_digest(expected, given.encode()) for given in headers.get("webhook-signature", "").split())


handled = set()  # in your service: a unique column in the database, written with what the message causes


def handle(message_id: str, message: dict) -> None:
    """Do what a message asks for, once."""
    if message_id in handled:
        return  # at least once means: sometimes twice
    handled.add(message_id)
    print("handled", message_id, message["type"], json.dumps(message["data"], sort_keys=True), flush=True)


class Receiver(BaseHTTPRequestHandler):
    """One request, one message."""

    def do_POST(self) -> None:
        """Check, handle, answer."""
        given = self.headers.get("Content-Length", "")
        length = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0
        try:
            body = self.rfile.read(min(length, MAX_BODY))
            good = length <= MAX_BODY and verified(self.headers, body)
            if good:
                handle(self.headers["webhook-id"], json.loads(body))
            self.send_response(204 if good else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except ConnectionError:
            self.close_connection = True  # it went away: if it was ours, it comes again

    def log_message(self, *args) -> None:
        """Say nothing about requests."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Receiver)
    print("listening on", server.server_address[1], flush=True)
    server.serve_forever()
