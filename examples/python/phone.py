"""The backend of a mobile app whose people sign in on other screens: it scans and decides at the gateway in their name.

Run: python3 examples/python/phone.py
The app posts {"code": what its camera read} to /sign-in/scan, shows what is answered, which is who asks, and posts the
same, with "match" if a number was asked for, to /sign-in/confirm or /sign-in/decline.
Settings: GATEWAY_URL; SCANGATE_IDENTITY_SECRET_FILE, _ISSUER and _AUDIENCE, the same as the gateway's; PORT.
"""
import json, os, re, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import HTTPError, Request, urlopen
import jwt

GATEWAY = os.environ.get("GATEWAY_URL", "http://localhost:8080")
SECRET = open(os.environ.get("SCANGATE_IDENTITY_SECRET_FILE", "secret.txt")).read().rstrip("\r\n")
TOKEN = {"iss": os.environ.get("SCANGATE_IDENTITY_ISSUER", "https://id.example.com"),
         "aud": os.environ.get("SCANGATE_IDENTITY_AUDIENCE", "scangate")}
ACTIONS = {"/sign-in/scan": "scan", "/sign-in/confirm": "confirm", "/sign-in/decline": "cancel"}
PEOPLE = {"ada": "Ada Lovelace", "grace": "Grace Hopper"}


class Backend(BaseHTTPRequestHandler):
    def do_POST(self):
        user = self.headers.get("X-Demo-User")  # A STAND-IN: it is believed. Look up your app's own session here instead.
        if user not in PEOPLE or self.path not in ACTIONS:
            return self.refuse(401 if self.path in ACTIONS else 404, "Sign in, and post to " + ", ".join(ACTIONS))
        try:
            asked = json.loads(self.rfile.read(max(0, min(int(self.headers["Content-Length"]), 4096))))
            # A code is the gateway's own address and a ticket's id. Any other is refused, and not opened.
            ticket = re.fullmatch(re.escape(GATEWAY) + r"/s/([A-Za-z0-9_-]{22})", asked["code"])[1]
        except (LookupError, TypeError, ValueError):
            return self.refuse(400, "This is no code for signing in here.")
        # Says to the gateway who the person is. It is good there alone, and for a minute.
        token = jwt.encode({**TOKEN, "sub": user, "name": PEOPLE[user], "exp": int(time.time()) + 60}, SECRET, "HS256")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        headers["X-Forwarded-For"] = self.client_address[0]  # The gateway's limits count phones, not this backend.
        body = json.dumps({"match": asked["match"]} if "match" in asked else {}).encode()
        try:
            request = Request(f"{GATEWAY}/v1/tickets/{ticket}/{ACTIONS[self.path]}", body, headers)
            with urlopen(request, timeout=5) as got:
                self.answer(got.status, got.headers, got.read())
        except HTTPError as got:  # A problem: it is passed on as it is.
            self.answer(got.code, got.headers, got.read())
        except OSError:
            self.refuse(503, "The gateway cannot be reached.")

    def refuse(self, status, detail):
        self.answer(status, {"Content-Type": "application/problem+json"}, json.dumps({"detail": detail}).encode())

    def answer(self, status, headers, body):
        self.send_response(status)
        for name in filter(headers.get, ("Content-Type", "Retry-After")):
            self.send_header(name, headers[name])
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "4001"))), Backend)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
