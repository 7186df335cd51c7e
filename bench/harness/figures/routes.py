"""The cost of one request that needs no login: the gateway's CPU time for every route, and for expensive requests.

A request that takes over a millisecond of CPU needs a bound of its own: a thousand of them per second use a whole core.
"""

import base64
import json
import secrets
import socket
import struct
import subprocess
import threading
import zlib
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .. import measure
from ..processes import Failure
from ..progress import Progress
from ..setup import Setup
from ..servers import Gateway
from ..settings import Settings, Sizes

UNKNOWN = "A" * 22
# The maximum length of a request body.
BODY_BYTES = 16 * 1024
CHINESE = {"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"}
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Request:
    """One kind of request and its expected status: another response would have another cost."""

    title: str
    path: str
    status: int = 200
    method: str = "GET"
    headers: dict = field(default_factory=dict)
    body: str | bytes | None = None


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class PublishedIdentity:
    """An identity provider with published keys of each kind. It issues no tokens: all signatures are random."""

    ALGORITHMS = {
        "RS256": ("rsa", ["-pkeyopt", "rsa_keygen_bits:4096"], 512),
        "PS512": ("rsa", ["-pkeyopt", "rsa_keygen_bits:4096"], 512),
        "ES256": ("ec", ["-pkeyopt", "ec_paramgen_curve:P-256"], 64),
        "ES384": ("ec", ["-pkeyopt", "ec_paramgen_curve:P-384"], 96),
        "EdDSA": ("ed25519", [], 64),
    }

    def __init__(self, directory: Path, keys: Path):
        self.keys = keys
        jwks = json.dumps({"keys": [self._jwk(directory, alg) for alg in self.ALGORITHMS]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(jwks)))
                self.end_headers()
                self.wfile.write(jwks)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._server.server_port}/keys"
        self.flags = ["--identity-jwks-url", url, "--identity-issuer", "bench", "--identity-audience", "bench"]

    def close(self) -> None:
        self._server.shutdown()

    def _jwk(self, directory: Path, alg: str) -> dict:
        kind, options, _ = self.ALGORITHMS[alg]
        pem = directory / f"{alg}.pem"
        self._openssl("genpkey", "-algorithm", kind, *options, "-out", pem)
        if kind == "rsa":
            modulus = self._openssl("rsa", "-in", pem, "-noout", "-modulus").decode().strip().split("=")[1]
            return {"kty": "RSA", "alg": alg, "kid": alg, "n": base64url(bytes.fromhex(modulus)), "e": "AQAB"}
        # The DER form of a public key ends with the key itself.
        der = self._openssl("pkey", "-in", pem, "-pubout", "-outform", "DER")
        if kind == "ed25519":
            return {"kty": "OKP", "crv": "Ed25519", "alg": alg, "kid": alg, "x": base64url(der[-32:])}
        size, curve = (32, "P-256") if alg == "ES256" else (48, "P-384")
        x, y = der[-2 * size : -size], der[-size:]
        return {"kty": "EC", "crv": curve, "alg": alg, "kid": alg, "x": base64url(x), "y": base64url(y)}

    @staticmethod
    def _openssl(*arguments) -> bytes:
        return subprocess.run(["openssl", *arguments], capture_output=True, check=True, timeout=60).stdout

    def forged(self, alg: str, padding: int = 0) -> str:
        """Returns a token that is valid except for its signature."""
        claims = {"iss": "bench", "aud": "bench", "sub": "ada", "exp": 4_000_000_000, "pad": "x" * padding}
        head = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": alg, "kid": alg}, claims))
        # The signature is below the order of every curve and every modulus, so that it is verified in full.
        return f"{head}.{base64url(bytes([1]) + secrets.token_bytes(self.ALGORITHMS[alg][2] - 1))}"


def noise(side: int) -> bytes:
    """Returns a PNG with as many colours as possible, which is the most expensive logo."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + secrets.token_bytes(side * 3) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bearer(token: str) -> dict:
    return {"authorization": f"Bearer {token}"}


def requests(identity: PublishedIdentity, jwt: str) -> list[Request]:
    ticket, qr = f"/v1/tickets/{UNKNOWN}", f"/v1/tickets/{UNKNOWN}/qr"
    binding = {"cookie": f"scangate={'A' * 43}"}
    deep = '{"client_id":' + "[" * 8_000
    many = "&".join(f"parameter{n}=x" for n in range(400))
    callback = "signature=" + "0" * 40 + "&timestamp=1800000000&nonce=1"
    encrypted = f"<xml><ToUserName>x</ToUserName><Encrypt>{'A' * 15_000}</Encrypt></xml>"
    return [
        Request("the sign-in page", "/"),
        Request("… in Chinese", "/", headers=CHINESE),
        Request("… with 400 parameters", f"/?{many}"),
        Request("the confirm page", f"/s/{UNKNOWN}"),
        Request("the share page", "/share"),
        Request("the receive page", f"/share/{UNKNOWN}"),
        Request("a script, as it is", "/static/scangate.js"),
        Request("… compressed", "/static/scangate.js", headers={"accept-encoding": "gzip"}),
        Request("texts.json", "/static/texts.json"),
        Request("a client's logo", "/v1/clients/web/logo.png"),
        Request("a client's theme", "/v1/clients/web/theme.css"),
        Request("the OpenAPI document", "/v1/openapi.json"),
        Request("the JWK Set", "/.well-known/jwks.json"),
        Request("an unknown path", "/nothing", 404),
        Request("… with 60 header fields", "/nothing", 404, headers={f"x-{n}": "y" * 200 for n in range(55)}),
        Request("a new ticket", "/v1/tickets", 201, "POST", JSON, "{}"),
        Request("… with its code as SVG", "/v1/tickets?qr=svg", 201, "POST", JSON, "{}"),
        Request("… with its code as PNG", "/v1/tickets?qr=png", 201, "POST", JSON, "{}"),
        Request("… refused: 16 KiB of a name", "/v1/tickets", 400, "POST", JSON,
                json.dumps({"client_id": "x" * (BODY_BYTES - 100)})),
        Request("… refused: 8,000 brackets", "/v1/tickets", 400, "POST", JSON, deep),
        Request("… refused: too large", "/v1/tickets", 413, "POST", JSON, "x" * (BODY_BYTES + 1)),
        Request("a ticket of other parties", ticket, 404, headers=binding),
        Request("… its stream", f"{ticket}/events", 404, headers=binding),
        Request("… waited for", f"{ticket}?wait=60", 404, headers=binding),
        Request("… closed", ticket, 404, "DELETE", binding),
        Request("… cancelled", f"{ticket}/cancel", 404, "POST", binding | JSON, "{}"),
        Request("a code as SVG", f"{qr}.svg"),
        Request("… with a logo of 60 KB", f"{qr}.svg?logo=web"),
        Request("a code as PNG, 320 pixels", f"{qr}.png"),
        Request("… 1,024 pixels", f"{qr}.png?size=1024"),
        Request("… 320 pixels with a logo", f"{qr}.png?logo=web"),
        Request("… 1,024 pixels with a logo", f"{qr}.png?size=1024&logo=web"),
        *(
            Request(f"a scan with a forged {alg} token", f"{ticket}/scan", 401, "POST",
                    bearer(identity.forged(alg)) | JSON, "{}")
            for alg in identity.ALGORITHMS
        ),
        Request("… of 8 KB", f"{ticket}/scan", 401, "POST", bearer(identity.forged("RS256", 5_000)) | JSON, "{}"),
        Request("a confirmation with a forged token", f"{ticket}/confirm", 401, "POST",
                bearer(identity.forged("RS256")) | JSON, "{}"),
        Request("an invalid session", "/v1/verify", 401, headers={"cookie": "scangate-session=x"}),
        Request("… a forged JWT", "/v1/verify", 401, headers=bearer(jwt)),
        Request("a sign-in that starts", "/v1/sign-in", 302, headers={"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "accept": "text/html"}),
        Request("… redeemed with a forged JWT", "/v1/redeem", 401, "POST", bearer(jwt) | JSON, "{}"),
        Request("… ended", "/v1/sign-out", 204, "POST", JSON, "{}"),
        Request("a preflight", "/v1/tickets", 200, "OPTIONS",
                {"origin": "https://shop.example.com", "access-control-request-method": "POST"}),
        Request("a WeChat callback, forged", f"/connectors/wechat?{callback}", 403, "POST", {}, encrypted),
    ]  # fmt: skip


CLIENTS = """
[[clients]]
id = "web"
logo = "logo.png"
color = "#7a0019"
origins = ["https://shop.example.com"]
flows = ["login", "share"]
[connectors.wechat]
app_id = "wx0123456789abcdef"
secret = "0123456789abcdef0123456789abcdef"
token = "letters0and0digits"
encoding_aes_key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
api_base = "http://127.0.0.1:9"
"""


def seconds(sizes: Sizes) -> float:
    return 50 * sizes.counted_requests / 800 + 10


def run(settings: Settings, progress: Progress) -> dict:
    """Measures the gateway's CPU time for each kind of request, one after the other on one connection."""
    count = settings.sizes.counted_requests
    with Setup(settings, progress) as setup:
        directory = setup.sandbox.directory("routes")
        (directory / "clients.toml").write_text(CLIENTS)
        (directory / "logo.png").write_bytes(noise(140))
        identity = PublishedIdentity(directory, setup.identity.keys)
        try:
            gateway = Gateway(setup.sandbox, settings, identity, setup.redis, "--config", directory / "clients.toml")
            measured = []
            for request in requests(identity, forged_jwt(gateway)):
                progress.step(f"{count:,} × {request.title}")
                measured.append({"request": request.title, **cost(gateway, request, count)})
            progress.step(f"{count:,} streams, opened and dropped")
            measured.append({"request": "an own stream, opened and dropped", **dropped(gateway, count)})
        finally:
            identity.close()
        return {"count": count, "requests": measured}


def forged_jwt(gateway: Gateway) -> str:
    """Returns a JWT like the gateway's own, with an invalid signature."""
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/.well-known/jwks.json")
    key = json.loads(connection.getresponse().read())["keys"][0]
    connection.close()
    claims = {"iss": f"http://localhost:{gateway.port}", "aud": "web", "sub": "ada", "exp": 4_000_000_000}
    head = [{"alg": key["alg"], "kid": key["kid"], "typ": "JWT"}, claims]
    return ".".join([*(base64url(json.dumps(part).encode()) for part in head), base64url(b"\1" * 64)])


def cost(gateway: Gateway, request: Request, count: int) -> dict:
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    ask(connection, request, max(20, count // 20))
    before = measure.cpu_seconds(gateway.process.pid)
    size = ask(connection, request, count)
    cpu = measure.cpu_seconds(gateway.process.pid) - before
    connection.close()
    return {"us": cpu / count * 1e6, "bytes": size}


def ask(connection: HTTPConnection, request: Request, count: int) -> int:
    size = 0
    for _ in range(count):
        connection.request(request.method, request.path, body=request.body, headers=request.headers)
        response = connection.getresponse()
        size = len(response.read())
        if response.status != request.status:
            raise Failure(f"{request.title}: {request.method} {request.path[:80]} returned {response.status}")
    return size


def dropped(gateway: Gateway, count: int) -> dict:
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("POST", "/v1/tickets", body='{"binding":"bearer"}', headers=JSON)
    ticket = json.loads(connection.getresponse().read())
    head = (
        f"GET {ticket['events']} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ticket['ticket_secret']}\r\n\r\n"
    ).encode()

    def open_and_drop(times: int) -> None:
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as stream:
                stream.sendall(head)
                read = b""
                while b"event: pending" not in read:
                    read += stream.recv(4096)
                    if not read.startswith(b"HTTP/1.1 200"):
                        raise Failure(f"a stream got the response {read[:40]!r}")

    open_and_drop(max(20, count // 20))
    before = measure.cpu_seconds(gateway.process.pid)
    open_and_drop(count)
    return {"us": (measure.cpu_seconds(gateway.process.pid) - before) / count * 1e6, "bytes": len(read_once(gateway, head))}


def read_once(gateway: Gateway, head: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as stream:
        stream.sendall(head)
        return stream.recv(4096)
