"""The servers of one figure: Redis, the gateway, and nginx in front of it, on free ports and in the sandbox's directory."""

import base64
import hashlib
import hmac
import json
import os
import re
import resource
import secrets
import subprocess
import time
from functools import cache
from pathlib import Path

from . import measure
from .processes import Failure, Process, Sandbox, free_port, listening, until
from .settings import Settings

ROOT = Path(__file__).resolve().parents[2]
NGINX = ROOT / "nginx"

# No figure reaches these limits: the figures measure the gateway, not its limits.
NO_LIMIT = "100000000"
NO_RATE = "1000000"


def files_limit() -> int:
    """Returns the maximum number of open files of a process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class RedisServer:
    """A Redis without persistence."""

    def __init__(self, sandbox: Sandbox):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/"
        self.process = sandbox.start(
            "redis-server",
            ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", sandbox.directory("redis")],
        )  # fmt: skip
        until("Redis listens", lambda: listening(self.port), 10, self.process)
        self.info = measure.Redis(self.port)
        self.nodes = [self.info]
        self.processes = [self.process]


class RedisCluster:
    """A Cluster of three primaries, each with `replicas` replicas, without persistence."""

    SLOTS = 16_384

    def __init__(self, sandbox: Sandbox, replicas: int = 0, primaries: int = 3):
        ports = [free_port() for _ in range(primaries * (1 + replicas))]
        self.nodes = [measure.Redis(port) for port in ports]
        self.url = "redis-cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports[:primaries])
        self.processes = []
        for port in ports:
            process = sandbox.start(
                f"redis-server {port}",
                ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                 "--cluster-enabled", "yes", "--cluster-port", free_port(), "--cluster-node-timeout", "5000",
                 "--repl-diskless-sync-delay", "0", "--dir", sandbox.directory(f"redis-{port}")],
            )  # fmt: skip
            self.processes.append(process)
            until("Redis listens", lambda port=port: listening(port), 10, process)
        ids = [node.ask("CLUSTER MYID") for node in self.nodes]
        for number, node in enumerate(self.nodes[:primaries]):
            first, last = (self.SLOTS * at // primaries for at in (number, number + 1))
            node.ask(f"CLUSTER ADDSLOTSRANGE {first} {last - 1}")
            node.ask(f"CLUSTER SET-CONFIG-EPOCH {number + 1}")
        bus = re.search(r"@(\d+)", self.nodes[0].ask("CLUSTER NODES"))[1]
        for node in self.nodes[1:]:
            node.ask(f"CLUSTER MEET 127.0.0.1 {ports[0]} {bus}")
        until("every node has met the others", lambda: all(self._has_met(node, len(ports)) for node in self.nodes), 20)
        for number, node in enumerate(self.nodes[primaries:]):
            node.ask(f"CLUSTER REPLICATE {ids[number % primaries]}")
        until("the Cluster is up", lambda: all(self._is_up(node, replicas) for node in self.nodes[:primaries]), 30)

    @staticmethod
    def _has_met(node: measure.Redis, count: int) -> bool:
        return f"cluster_known_nodes:{count}" in node.ask("CLUSTER INFO")

    @staticmethod
    def _is_up(node: measure.Redis, replicas: int) -> bool:
        online = node.info("replication").get("connected_slaves")
        return "cluster_state:ok" in node.ask("CLUSTER INFO") and online == str(replicas)


class Identity:
    """The approvers' identity provider (a shared secret and one person's token), and the keys that all replicas sign with."""

    def __init__(self, sandbox: Sandbox, settings: Settings):
        directory = sandbox.directory("identity")
        secret = secrets.token_urlsafe(48)
        self.secret_file = directory / "secret"
        self.secret_file.write_text(secret)
        self.flags = [
            "--identity-secret-file", self.secret_file, "--identity-issuer", "bench", "--identity-audience", "bench",
        ]  # fmt: skip
        self.token_file = directory / "token"
        now = int(time.time())
        claims = {"iss": "bench", "aud": "bench", "sub": "ada", "name": "Ada", "iat": now, "exp": now + 86_400}
        self.token_file.write_text(_hs256(claims, secret))
        self.keys = directory / "keys"
        made = subprocess.run(
            [settings.programs.scangate, "keys", "new", "--dir", self.keys], capture_output=True, text=True, timeout=20
        )
        if made.returncode:
            raise Failure(f"scangate keys new failed: {made.stderr.strip()}")


def _hs256(claims: dict, secret: str) -> str:
    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = encoded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()) + "." + encoded(json.dumps(claims).encode())
    return head + "." + encoded(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest())


@cache
def has_flag(scangate: Path, flag: str) -> bool:
    """Returns whether this build of the gateway has the flag."""
    text = subprocess.run([scangate, "--help"], capture_output=True, text=True, timeout=10, check=True).stdout
    return re.search(rf"{flag}\b", text) is not None


class Gateway:
    """One scangate process."""

    def __init__(
        self,
        sandbox: Sandbox,
        settings: Settings,
        identity: Identity,
        redis: RedisServer | RedisCluster | None,
        *options,
        name: str = "scangate",
        public_url: str | None = None,
        demo: bool = False,
    ):
        self.sandbox = sandbox
        self.name = name
        self.port, self.admin_port = free_port(), free_port()
        self.target = f"http://127.0.0.1:{self.port}"
        self.command = [
            settings.programs.scangate,
            "--listen", f"127.0.0.1:{self.port}",
            "--admin-listen", f"127.0.0.1:{self.admin_port}",
            "--public-url", public_url or f"http://localhost:{self.port}",
            *([] if "--ticket-ttl" in options else ["--ticket-ttl", "30m"]),
            "--heartbeat", f"{settings.sizes.heartbeat}s",
            # The demo refuses to run beside real people's keys.
            *(["--demo", "true"] if demo else [*identity.flags, "--keys-dir", identity.keys]),
            "--streams-per-address", NO_LIMIT,
            "--memory-max-tickets", "10000000",
            "--tickets-per-address", "1000000",
            *(part for rate in ("create", "connector", "draw", "scan", "confirm", "invalid-scan", "invalid-confirm")
              for part in (f"--rate-{rate}", NO_RATE)),
            "--log", "warn",
            *(["--redis-url", redis.url] if redis else []),
            *options,
        ]  # fmt: skip
        self.process: Process
        self.start()

    def start(self) -> None:
        """Starts it, or restarts it on the same ports."""
        self.process = self.sandbox.start(self.name, self.command)
        until(f"{self.name} is ready", self._ready, 30, self.process)

    def _ready(self) -> bool:
        if not (listening(self.admin_port) and listening(self.port)):
            return False
        try:
            measure.requests(self.admin_port, "/readyz", 1)
        except (Failure, OSError):
            return False
        return True


# The streams are spread over several workers, because a worker opens two files per stream.
EDGE_WORKERS = 4


class Edge:
    """nginx in front of gateways: with the settings of nginx/, or with the minimum that makes streams work."""

    def __init__(self, sandbox: Sandbox, gateways: list[Gateway], port: int, *, ours: bool, tls: bool):
        self.port = port
        self.target = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self._tls = tls
        self._servers = "; server ".join(f"127.0.0.1:{gateway.port}" for gateway in gateways)
        self._directory = directory = sandbox.directory("edge")
        (directory / "conf.d").mkdir()
        (directory / "temp").mkdir()
        self._cert, self._key = _certificate(directory)
        (directory / "conf.d" / "site.conf").write_text(self._our_site() if ours else self._default_site())
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f'{kind}_temp_path "{directory}/temp/{kind}";\n' for kind in kinds)
        (directory / "conf.d" / "paths.conf").write_text(paths)
        (directory / "nginx.conf").write_text(_main_file())
        self.process = sandbox.start(
            "nginx",
            ["nginx", "-e", "stderr", "-p", f"{directory}/", "-c", directory / "nginx.conf",
             "-g", f'daemon off; pid "{directory}/nginx.pid"; {run_as()}'],
        )  # fmt: skip
        until("nginx listens", lambda: listening(port), 10, self.process)

    def _listen(self) -> str:
        # With reuseport, the kernel distributes connections evenly. Otherwise the first worker to wake runs out of files.
        return f"listen 127.0.0.1:{self.port} {'ssl http2 ' if self._tls else ''}reuseport backlog=4096;"

    def _our_site(self) -> str:
        """Returns the template of nginx/ with higher request rates. Plain HTTP is the same site without `ssl http2`."""
        text = (NGINX / "scangate.conf.template").read_text()
        values = {
            "EDGE_UPSTREAM": self._servers.replace(";", " max_fails=0;"),
            "EDGE_HTTPS_PORT": str(self.port),
            "EDGE_HTTP_PORT": f"127.0.0.1:{free_port()}",
            "EDGE_SERVER_NAME": "localhost",
            "EDGE_CERT": str(self._cert),
            "EDGE_KEY": str(self._key),
            "EDGE_ACCESS_LOG": f'"{self._directory}/access.log"',
        }
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value)
        # One load generator creates all tickets from few addresses, unlike the browsers of a real installation.
        for rate in ("rate=100r/s;", "rate=400r/s;", "rate=1600r/s;"):
            text = _replaced(text, rate, "rate=100000r/s;")
        return _replaced(text, f"listen {self.port} ssl http2;", self._listen())

    def _default_site(self) -> str:
        """Returns the usual configuration for event streams: buffering off, long timeouts, everything else at its default."""
        return f"""
upstream gateways {{
    server {self._servers};
}}
server {{
    {self._listen()}
    ssl_certificate {self._cert};
    ssl_certificate_key {self._key};
    access_log {self._directory}/access.log;
    location / {{
        proxy_pass http://gateways;
        proxy_buffering off;
        proxy_read_timeout 1h;
        proxy_send_timeout 1h;
    }}
}}
"""


def run_as() -> str:
    """Returns the user of the workers. If root starts nginx, they would run as nobody, which cannot read the sandbox."""
    return "user root root;" if os.geteuid() == 0 else ""


def _main_file() -> str:
    """Returns nginx/nginx.conf with the workers and files that the streams need."""
    files = min(65_536, files_limit())
    text = (NGINX / "nginx.conf").read_text()
    text = _replaced(text, "worker_processes auto;", f"worker_processes {EDGE_WORKERS};")
    text = _replaced(text, "worker_rlimit_nofile 65536;", f"worker_rlimit_nofile {files};")
    return _replaced(text, "worker_connections 32768;", f"worker_connections {files};")


def _certificate(directory: Path) -> tuple[Path, Path]:
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", key, "-out", cert,
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if made.returncode:
        raise Failure(f"openssl could not create a certificate: {made.stderr.strip()}")
    return cert, key


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise Failure(
            f"nginx/ no longer contains '{old}', which the benchmark replaces; fix bench/harness/servers.py"
        )
    return text.replace(old, new)
