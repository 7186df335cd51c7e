"""The cost of a stream in an nginx in front of the gateway."""

from .. import measure
from ..processes import free_port
from ..progress import Progress
from ..setup import Setup
from ..settings import Settings, Sizes
from .idle import SETTLE, require_all

VARIANTS = {
    "plain-defaults": "plain HTTP, its defaults",
    "plain-ours": "plain HTTP, our settings",
    "tls-defaults": "TLS and h2, its defaults",
    "tls-ours": "TLS and h2, our settings",
}

# Our settings allow 256 streams per address.
STREAMS_PER_ADDRESS = 80
OPENS_PER_SECOND = 1_000
HEARTBEATS = 2


def addresses(streams: int) -> int:
    return max(4, -(-streams // STREAMS_PER_ADDRESS))


def seconds(sizes: Sizes) -> float:
    return sizes.edge_streams / OPENS_PER_SECOND + SETTLE + sizes.window(HEARTBEATS) + 8


def of(name: str):
    """Returns the measurement of one variant."""

    def run(settings: Settings, progress: Progress) -> dict:
        return measure_streams(settings, progress, ours=name.endswith("ours"), tls=name.startswith("tls"))

    return run


def measure_streams(settings: Settings, progress: Progress, *, ours: bool, tls: bool) -> dict:
    sizes = settings.sizes
    count, window = sizes.edge_streams, sizes.window(HEARTBEATS)
    with Setup(settings, progress) as setup:
        port = free_port()
        gateway = setup.gateway(public_url=f"{'https' if tls else 'http'}://localhost:{port}")
        edge = setup.edge([gateway], port, ours=ours, tls=tls)
        progress.wait(1, "at rest before")
        before = measure.user_bytes(edge.process.pid)
        kernel = measure.Kernel.now()
        load = setup.hold(
            [edge.target], count, "--rate", OPENS_PER_SECOND, "--source-addresses", addresses(count),
            *(["--http", "2", "--insecure"] if tls else ["--http", "1.1"]),
        )  # fmt: skip
        progress.wait(SETTLE, "settling")
        cpu = measure.cpu_seconds(edge.process.pid)
        progress.wait(window, f"{HEARTBEATS} heartbeats")
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
            "cpu_percent_per_10k": 100 * cpu / window * 10_000 / streams,
            "kernel": held_kernel.since(kernel, 4 * streams),
            "loadgen": result,
        }
