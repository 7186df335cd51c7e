"""A backend with one protected route: it lets in who brings a JWT of the gateway, checked by the keys published there. One
of the flow share is refused: whoever scanned the code brings it, and not the person whom it names.

Run: python3 examples/python/verify.py
Then: curl http://127.0.0.1:4000/me -H "Authorization: Bearer $jwt"
Settings: GATEWAY_URL, the `iss` of the JWTs; AUDIENCE, their `aud`, which is the client's id; PORT, where to listen.
"""
import json, os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen
import jwt

GATEWAY = os.environ.get("GATEWAY_URL", "http://localhost:8080")
RULES = {"issuer": GATEWAY, "audience": os.environ.get("AUDIENCE", "web"),
         "leeway": 30, "options": {"require": ["iss", "aud", "exp", "sub"]}}  # Clocks differ by some seconds.
keys, fetched, lock = {}, float("-inf"), threading.Lock()


def key(kid):
    """Returns a key. All are kept for five minutes; for one that is missing fetched again, at most every ten seconds."""
    global keys, fetched
    with lock:
        if time.monotonic() - fetched > (300 if kid in keys else 10):
            with urlopen(GATEWAY + "/.well-known/jwks.json", timeout=5) as answer:
                keys = {jwk.get("kid"): jwk for jwk in json.load(answer)["keys"]}
            fetched = time.monotonic()
        return keys.get(kid)


class Backend(BaseHTTPRequestHandler):
    def do_GET(self):
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if self.path != "/me": return self.answer(404, {"detail": "Ask for GET /me."})
        if scheme.lower() != "bearer":
            return self.answer(401, {"detail": "Sign in first."}, ("WWW-Authenticate", "Bearer"))
        try:
            jwk = key(jwt.get_unverified_header(token).get("kid"))
            if jwk is None: raise jwt.InvalidTokenError("The token is signed with an unknown key")
            # The algorithm is the key's own, whatever the token says.
            person = jwt.decode(token, jwt.PyJWK(jwk).key, algorithms=[jwk["alg"]], **RULES)
            if person.get("flow") != "login":
                raise jwt.InvalidTokenError("The JWT signs nobody in")
            self.answer(200, {"sub": person["sub"], "name": person.get("name")})
        except jwt.InvalidTokenError as error:
            self.answer(401, {"detail": str(error)}, ("WWW-Authenticate", 'Bearer error="invalid_token"'))
        except (OSError, LookupError, ValueError, jwt.PyJWTError):
            self.answer(503, {"detail": "The gateway cannot be asked for its keys."}, ("Retry-After", "5"))

    def answer(self, status, body, *headers):
        self.send_response(status)
        for header in [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers]:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "4000"))), Backend)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
