"""The cost per stream with more and more streams over several gateways. It should stay the same."""

from .. import measure
from ..progress import Progress
from ..setup import Setup
from ..settings import Settings, Sizes
from .idle import SETTLE, require_all
from .latency import rounds, warm_up

HEARTBEATS = 2


def seconds(sizes: Sizes) -> float:
    logins = sizes.rounds * sizes.growth_logins / 80
    return sum(count / 1_200 + SETTLE + sizes.window(HEARTBEATS) + logins + 12 for count in sizes.growth)


def run(settings: Settings, progress: Progress) -> dict:
    return {"rows": [row(settings, progress, count) for count in settings.sizes.growth]}


def row(settings: Settings, progress: Progress, count: int) -> dict:
    sizes = settings.sizes
    with Setup(settings, progress) as setup:
        needed = -(-count // sizes.per_gateway)
        gateways = [setup.gateway(name=f"scangate {number}") for number in range(1, needed + 1)]
        targets = [gateway.target for gateway in gateways]
        pids = [gateway.process.pid for gateway in gateways]
        progress.wait(1, "at rest before")
        before = sum(map(measure.user_bytes, pids))
        kernel = measure.Kernel.now()

        idle = setup.hold(targets, count)
        progress.wait(SETTLE, "settling")
        cpu = sum(map(measure.cpu_seconds, pids))
        window = sizes.window(HEARTBEATS)
        progress.wait(window, f"{HEARTBEATS} heartbeats")
        cpu = sum(map(measure.cpu_seconds, pids)) - cpu
        streams = idle.status["open"]
        held = sum(map(measure.user_bytes, pids))
        held_kernel = measure.Kernel.now()

        warm_up(setup, targets, sizes.growth_logins)
        times = rounds(setup, targets, sizes.growth_logins)
        progress.step(f"closing {count:,} streams")
        result = idle.stop(120)
        require_all(result, streams, count)
        return {
            "streams": streams,
            "gateways": len(gateways),
            "bytes_per_stream": (held - before) / streams,
            "cpu_percent_per_10k": 100 * cpu / window * 10_000 / streams,
            "kernel": held_kernel.since(kernel, 2 * streams),
            "opens_per_second": result["open"]["per_second"],
            "heartbeats": result.get("heartbeats"),
            **times,
        }
