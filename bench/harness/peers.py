"""The servers that scangate is compared with. Each sends a first event of the same size and the same heartbeats.

A new peer is a function here that starts it and returns a `Served`, and a line in `PEERS`.
"""

from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from .processes import Failure, Process, Stage, free_port, listening, until
from .servers import Gateway, Identity, RedisServer, files_limit, has_flag, run_as
from .settings import Settings

PEERS_DIR = Path(__file__).resolve().parents[1] / "peers"
FIRST_EVENT = PEERS_DIR / "first-event.json"
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


# Opens per second then count streams alone, as with the peers.
TICKETS = ["--tickets-first"]


@dataclass
class Served:
    """A server whose idle streams are measured."""

    process: Process
    target: str
    # The load generator's options besides the target.
    loadgen: list = field(default_factory=list)
    redis: RedisServer | None = None


class NotThere(Failure):
    """This machine lacks the peer. The results say so, and the run does not fail."""


def scangate_on_redis(stage: Stage, settings: Settings, *extra: str) -> Served:
    redis = RedisServer(stage)
    identity = Identity(stage, settings)
    gateway = Gateway(stage, settings, identity, redis, *extra)
    return Served(gateway.process, gateway.target, TICKETS, redis)


def scangate_undetached(stage: Stage, settings: Settings) -> Served:
    if not has_flag(settings.programs.scangate, "--detach"):
        raise NotThere("this build of scangate has no --detach")
    return scangate_on_redis(stage, settings, "--detach", "false")


def scangate_in_memory(stage: Stage, settings: Settings) -> Served:
    identity = Identity(stage, settings)
    gateway = Gateway(stage, settings, identity, None)
    return Served(gateway.process, gateway.target, TICKETS)


def streams_at(path: str, settings: Settings) -> list:
    """Returns the load generator's options for the streams of a server without tickets."""
    return ["--events-path", path, "--heartbeat", f"{settings.sizes.heartbeat}s"]


def nchan(stage: Stage, settings: Settings) -> Served:
    """One channel per stream, as with tickets. The first events are published before the measurement."""
    return _nchan(stage, settings, "/events/{n}", settings.sizes.streams)


def nchan_one_channel(stage: Stage, settings: Settings) -> Served:
    """All streams on one channel: of no use for tickets, but the least memory that nchan can take."""
    return _nchan(stage, settings, "/events/0", 1)


def _nchan(stage: Stage, settings: Settings, path: str, channels: int) -> Served:
    if not NCHAN_MODULE.exists():
        raise Failure(f"{NCHAN_MODULE} is missing; apt-get install libnginx-mod-nchan")
    port = free_port()
    directory = stage.directory("nchan")
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
    process = stage.start(
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
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise Failure(f"nchan did not take a message: {answer.status}")
    connection.close()


def axum_sse(stage: Stage, settings: Settings) -> Served:
    port = free_port()
    process = stage.start(
        "axum", [settings.programs.axum_sse, f"127.0.0.1:{port}", settings.sizes.heartbeat, FIRST_EVENT]
    )
    until("the axum peer listens", lambda: listening(port), 10, process)
    return Served(process, f"http://127.0.0.1:{port}", streams_at("/events/{n}", settings))


def node(stage: Stage, settings: Settings) -> Served:
    port = free_port()
    process = stage.start(
        "node", ["node", PEERS_DIR / "node" / "server.js", port, settings.sizes.heartbeat, FIRST_EVENT]
    )
    until("the Node peer listens", lambda: listening(port), 10, process)
    return Served(process, f"http://127.0.0.1:{port}", streams_at("/events/{n}", settings))


# By key: its name in the table, and the function that starts it.
PEERS = {
    "scangate": ("scangate, Redis", scangate_on_redis),
    "scangate-undetached": ("scangate, Redis, `--detach false`", scangate_undetached),
    "scangate-memory": ("scangate, memory", scangate_in_memory),
    "nchan": ("nchan, a channel per stream", nchan),
    "nchan-one-channel": ("nchan, one channel for all", nchan_one_channel),
    "axum": ("stock axum `Sse`", axum_sse),
    "node": ("Node `http`", node),
}
