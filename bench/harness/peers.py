"""The servers that scangate is compared with. Each sends a first event of the same size, and heartbeats as often.

A new peer is a function here that starts it and returns a `Served`, and a line in `PEERS`.
"""

from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from .processes import Failure, Process, Sandbox, free_port, listening, until
from .servers import Gateway, Identity, RedisServer, files_limit, has_flag, run_as
from .settings import Settings

PEERS_DIR = Path(__file__).resolve().parents[1] / "peers"
FIRST_EVENT = PEERS_DIR / "first-event.json"
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


# Then opens per second count only streams, as with the peers.
TICKETS = ["--tickets-first"]


@dataclass
class Served:
    """A server whose idle streams are measured."""

    process: Process
    target: str
    # The load generator's options besides the target.
    loadgen: list = field(default_factory=list)
    redis: RedisServer | None = None


class Unavailable(Failure):
    """The peer is unavailable. The results show the reason, and the run does not fail."""


def scangate_on_redis(sandbox: Sandbox, settings: Settings, *extra: str) -> Served:
    redis = RedisServer(sandbox)
    identity = Identity(sandbox, settings)
    gateway = Gateway(sandbox, settings, identity, redis, *extra)
    return Served(gateway.process, gateway.target, TICKETS, redis)


def scangate_undetached(sandbox: Sandbox, settings: Settings) -> Served:
    if not has_flag(settings.programs.scangate, "--detach"):
        raise Unavailable("this build of scangate has no --detach")
    return scangate_on_redis(sandbox, settings, "--detach", "false")


def scangate_in_memory(sandbox: Sandbox, settings: Settings) -> Served:
    identity = Identity(sandbox, settings)
    gateway = Gateway(sandbox, settings, identity, None)
    return Served(gateway.process, gateway.target, TICKETS)


def streams_at(path: str, settings: Settings) -> list:
    """Returns the load generator's options for the streams of a server without tickets."""
    return ["--events-path", path, "--heartbeat", f"{settings.sizes.heartbeat}s"]


def nchan(sandbox: Sandbox, settings: Settings) -> Served:
    """One channel per stream, as with tickets. The first events are published before the measurement."""
    return _nchan(sandbox, settings, "/events/{n}", settings.sizes.streams)


def nchan_one_channel(sandbox: Sandbox, settings: Settings) -> Served:
    """All streams on one channel: unsuitable for tickets, but nchan's lower bound of memory."""
    return _nchan(sandbox, settings, "/events/0", 1)


def _nchan(sandbox: Sandbox, settings: Settings, path: str, channels: int) -> Served:
    if not NCHAN_MODULE.exists():
        raise Failure(f"{NCHAN_MODULE} is missing; apt-get install libnginx-mod-nchan")
    port = free_port()
    directory = sandbox.directory("nchan")
    config = (PEERS_DIR / "nchan" / "nginx.conf").read_text()
    values = {
        "MODULE": NCHAN_MODULE,
        "DIR": directory,
        "PORT": port,
        "FILES": files_limit(),
        "HEARTBEAT": settings.sizes.heartbeat,
    }
    for name, value in values.items():
        config = config.replace(f"${{{name}}}", str(value))
    (directory / "nginx.conf").write_text(config)
    process = sandbox.start(
        "nchan", ["nginx", "-e", "stderr", "-p", f"{directory}/", "-c", directory / "nginx.conf", "-g", run_as()]
    )
    until("nginx with nchan listens", lambda: listening(port), 10, process)
    _publish(port, channels)
    return Served(process, f"http://127.0.0.1:{port}", streams_at(path, settings))


def _publish(port: int, channels: int) -> None:
    event = FIRST_EVENT.read_text().strip()
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    for channel in range(channels + 1):
        connection.request("POST", f"/publish/{channel}", event, {"X-EventSource-Event": "pending"})
        response = connection.getresponse()
        response.read()
        if response.status >= 300:
            raise Failure(f"nchan did not accept a message: {response.status}")
    connection.close()


def axum_sse(sandbox: Sandbox, settings: Settings) -> Served:
    port = free_port()
    process = sandbox.start(
        "axum", [settings.programs.axum_sse, f"127.0.0.1:{port}", settings.sizes.heartbeat, FIRST_EVENT]
    )
    until("the axum peer listens", lambda: listening(port), 10, process)
    return Served(process, f"http://127.0.0.1:{port}", streams_at("/events/{n}", settings))


def node(sandbox: Sandbox, settings: Settings) -> Served:
    port = free_port()
    process = sandbox.start(
        "node", ["node", PEERS_DIR / "node" / "server.js", port, settings.sizes.heartbeat, FIRST_EVENT]
    )
    until("the Node peer listens", lambda: listening(port), 10, process)
    return Served(process, f"http://127.0.0.1:{port}", streams_at("/events/{n}", settings))


# By key: the name in the table, and the function that starts the peer.
PEERS = {
    "scangate": ("scangate, Redis", scangate_on_redis),
    "scangate-undetached": ("scangate, Redis, `--detach false`", scangate_undetached),
    "scangate-memory": ("scangate, memory", scangate_in_memory),
    "nchan": ("nchan, a channel per stream", nchan),
    "nchan-one-channel": ("nchan, one channel for all", nchan_one_channel),
    "axum": ("stock axum `Sse`", axum_sse),
    "node": ("Node `http`", node),
}
