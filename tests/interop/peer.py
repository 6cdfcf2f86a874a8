# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
"""The other end of the interoperability test, in Python; see run.py. PYTHONPATH leads to the package.

peer.py receive SECRET    prints its port; verifies what comes, and answers 200 or 401
peer.py send PORT SECRET  sends what must be taken and what must not, and fails for another answer
"""
import base64
import datetime
import http.server
import os
import sys
import threading
import time
import urllib.error
import urllib.request

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def receive(secret):
    webhook = Webhook(secret)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            status = 200
            try:
                webhook.verify(body, dict(self.headers))
            except WebhookVerificationError as error:
                print(f"peer.py: {error}", file=sys.stderr)
                status = 401
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


def send(port, secret):
    ours = Webhook(secret)
    stranger = Webhook("whsec_" + base64.b64encode(bytes([7] * 32)).decode())
    now = int(time.time())
    failed = 0

    def post(expected, id_, body, timestamp=now, by=ours, extra="", sent=None):
        nonlocal failed
        when = datetime.datetime.fromtimestamp(timestamp, tz=datetime.timezone.utc)
        headers = {"content-type": "application/json", "webhook-id": id_, "webhook-timestamp": str(timestamp),
                   "webhook-signature": by.sign(id_, when, body) + extra}
        data = (body if sent is None else sent).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/hooks", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                got = f"{response.status} {response.read().decode()}"
        except urllib.error.HTTPError as error:
            got = f"{error.code} {error.read().decode()}"
        if not got.startswith(expected):
            failed += 1
            print(f"peer.py: expected {expected}, got {got}", file=sys.stderr)

    post("200 applied", "msg_1", '{"a":"ü €"}')
    post("200 duplicate", "msg_1", '{"a":"ü €"}')
    post("200 applied", "msg_2", "{}", extra=" v1,bm9uZQ== v1a,b3RoZXI=")
    post("200 applied", "msg_3", "{}", timestamp=now - 200)
    post("401", "msg_4", "{}", timestamp=now - 400)
    post("401", "msg_5", "{}", timestamp=now + 400)
    post("401", "msg_6", "{}", by=stranger)
    post("401", "msg_7", "{}", sent="{ }")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    {"receive": receive, "send": send}[sys.argv[1]](*sys.argv[2:])
