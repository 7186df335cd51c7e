"""The cost of an idle stream in one server: user bytes, kernel bytes, CPU; and how fast streams can be opened."""

from .. import measure
from ..loadgen import Loadgen
from ..peers import PEERS, Served
from ..processes import Failure, Sandbox
from ..progress import Progress
from ..settings import Settings, Sizes

SETTLE = 5
GIVEN_BACK_AFTER = 10


def seconds(sizes: Sizes) -> float:
    return sizes.streams / 1_500 + SETTLE + sizes.window() + GIVEN_BACK_AFTER + 5


def of(key: str):
    """Returns the measurement of one peer."""
    _, start = PEERS[key]

    def run(settings: Settings, progress: Progress) -> dict:
        with Sandbox() as sandbox:
            return measure_streams(sandbox, settings, progress, start(sandbox, settings))

    return run


def measure_streams(sandbox: Sandbox, settings: Settings, progress: Progress, served: Served) -> dict:
    sizes = settings.sizes
    progress.wait(1, "at rest before")
    before = measure.user_bytes(served.process.pid)
    kernel = measure.Kernel.now()
    redis = served.redis.info.used_memory() if served.redis else None

    progress.step(f"opening {sizes.streams:,} streams")
    load = Loadgen(
        sandbox, settings, progress, "idle", [served.target],
        "--streams", sizes.streams, "--rate", 0, "--hold", "1h", "--max-time", "2h", *served.loadgen,
    )  # fmt: skip
    load.until_phase("holding", seconds=120 + sizes.streams / 50, of=sizes.streams)
    progress.wait(SETTLE, "settling")

    progress.step(f"{sizes.heartbeats} heartbeats of {sizes.heartbeat} s")
    cpu = measure.cpu_seconds(served.process.pid)
    redis_cpu = measure.cpu_seconds(served.redis.process.pid) if served.redis else 0.0
    window = sizes.window()
    progress.wait(window, "measuring the CPU")
    cpu = measure.cpu_seconds(served.process.pid) - cpu
    redis_cpu = measure.cpu_seconds(served.redis.process.pid) - redis_cpu if served.redis else 0.0

    served.process.require_alive()
    streams = load.status["open"]
    held = measure.user_bytes(served.process.pid)
    held_kernel = measure.Kernel.now()
    held_redis = served.redis.info.used_memory() if served.redis else None
    result = load.stop()
    require_all(result, streams, sizes.streams)
    require_heartbeats(result, streams * sizes.heartbeats)
    progress.wait(GIVEN_BACK_AFTER, "all streams closed")
    after = measure.user_bytes(served.process.pid)

    return {
        "streams": streams,
        "before_bytes": before,
        "held_bytes": held,
        "after_bytes": after,
        "bytes_per_stream": (held - before) / streams,
        "kernel": held_kernel.since(kernel, 2 * streams),
        "cpu_percent": 100 * cpu / window,
        "cpu_percent_per_10k": 100 * cpu / window * 10_000 / streams,
        "redis_cpu_percent": 100 * redis_cpu / window if served.redis else None,
        "redis_bytes_per_stream": (held_redis - redis) / streams if served.redis else None,
        "opens_per_second": result["open"]["per_second"],
        "open_ms": result["open"].get("latency_ms"),
        "heartbeats": result.get("heartbeats"),
        "loadgen": result,
    }


def require_heartbeats(result: dict, due: int) -> None:
    """Fails if heartbeats are missing, because a silent peer needs no CPU time."""
    seen = result["heartbeats"]["seen"]
    if seen < due:
        raise Failure(f"only {seen:,} of {due:,} heartbeats arrived")


def require_all(result: dict, streams: int, wanted: int) -> None:
    """Fails if streams were lost, because bytes per stream would be wrong."""
    lost = result["streams"].get("lost", 0)
    if streams < wanted or lost:
        errors = result["streams"].get("errors") or "no errors reported"
        raise Failure(f"{streams:,} of {wanted:,} streams were open at the end, {lost:,} were lost: {errors}")
