"""What a stream costs the nginx in front of the gateway."""

from .. import measure
from ..loadgen import Loadgen
from ..processes import Stage, free_port
from ..progress import Progress
from ..servers import Edge, Gateway, Identity, RedisServer
from ..settings import Settings, Sizes
from .idle import SETTLE, require_all

VARIANTS = {
    "plain-defaults": "plain HTTP, its defaults",
    "plain-ours": "plain HTTP, our settings",
    "tls-defaults": "TLS and h2, its defaults",
    "tls-ours": "TLS and h2, our settings",
}

# Our settings allow one address 256 streams and 50 requests per second.
STREAMS_PER_ADDRESS = 80
REQUESTS_PER_ADDRESS = 20


def addresses(streams: int) -> int:
    return max(4, -(-streams // STREAMS_PER_ADDRESS))


def rate(streams: int) -> int:
    """Opens per second through our settings: a ticket and a stream each."""
    return min(1_000, addresses(streams) * REQUESTS_PER_ADDRESS)


def seconds(sizes: Sizes) -> float:
    return sizes.edge_streams / rate(sizes.edge_streams) + SETTLE + sizes.window(2) + 8


def of(name: str):
    """The measurement of one variant."""

    def run(settings: Settings, progress: Progress) -> dict:
        return weigh(settings, progress, ours=name.endswith("ours"), tls=name.startswith("tls"))

    return run


def weigh(settings: Settings, progress: Progress, *, ours: bool, tls: bool) -> dict:
    sizes = settings.sizes
    count = sizes.edge_streams
    with Stage() as stage:
        redis = RedisServer(stage)
        identity = Identity(stage, settings)
        port = free_port()
        gateway = Gateway(
            stage, settings, identity, redis, public_url=f"{'https' if tls else 'http'}://localhost:{port}"
        )
        edge = Edge(stage, [gateway], port, ours=ours, tls=tls)
        progress.wait(1, "at rest before")
        before = measure.user_bytes(edge.process.pid)
        kernel = measure.Kernel.now()
        load = Loadgen(
            stage, settings, progress, "idle", [edge.target],
            "--streams", count, "--rate", rate(count), "--hold", "1h", "--max-time", "2h",
            "--http", "2" if tls else "1.1", *(["--insecure"] if tls else []),
            "--source-addresses", addresses(count), "--approver-token-file", identity.token_file,
        )  # fmt: skip
        load.until_phase("holding", seconds=120 + count / 50, of=count)
        progress.wait(SETTLE, "settling")
        cpu = measure.cpu_seconds(edge.process.pid)
        progress.wait(sizes.window(2), "measuring")
        cpu = measure.cpu_seconds(edge.process.pid) - cpu
        streams = load.status["open"]
        held = measure.user_bytes(edge.process.pid)
        held_kernel = measure.Kernel.now()
        result = load.stop()
        require_all(result, streams, count)
        return {
            "streams": streams,
            "before_bytes": before,
            "held_bytes": held,
            "bytes_per_stream": (held - before) / streams,
            "cpu_percent_per_10k": 100 * cpu / sizes.window(2) * 10_000 / streams,
            "kernel": held_kernel.since(kernel),
            "loadgen": result,
        }
