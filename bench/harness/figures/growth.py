"""The same figures for more and more streams over several gateways: per stream they should stay as they are."""

from .. import measure
from ..processes import Failure, Stage
from ..progress import Progress
from ..servers import Gateway, Identity, RedisServer
from ..settings import Settings, Sizes
from .latency import hold, logins, rounds

HEARTBEATS = 2


def seconds(sizes: Sizes) -> float:
    return sum(
        count / 1_200 + sizes.window(HEARTBEATS) + sizes.rounds * sizes.growth_logins / 80 + 15 for count in sizes.growth
    )


def run(settings: Settings, progress: Progress) -> dict:
    return {"rows": [row(settings, progress, count) for count in settings.sizes.growth]}


def row(settings: Settings, progress: Progress, count: int) -> dict:
    sizes = settings.sizes
    with Stage() as stage:
        redis = RedisServer(stage)
        identity = Identity(stage, settings)
        gateways = [
            Gateway(stage, settings, identity, redis, name=f"scangate {number}")
            for number in range(1, -(-count // sizes.per_gateway) + 1)
        ]
        targets = [gateway.target for gateway in gateways]
        pids = [gateway.process.pid for gateway in gateways]
        progress.wait(1, "at rest before")
        before = sum(map(measure.user_bytes, pids))
        kernel = measure.Kernel.now()

        idle = hold(stage, settings, progress, identity, targets, count)
        cpu = sum(map(measure.cpu_seconds, pids))
        window = sizes.window(HEARTBEATS)
        progress.wait(window, "measuring")
        cpu = sum(map(measure.cpu_seconds, pids)) - cpu
        streams = idle.status["open"]
        held = sum(map(measure.user_bytes, pids))
        held_kernel = measure.Kernel.now()

        progress.step(f"{sizes.rounds} × {sizes.growth_logins:,} logins beside {count:,} idle streams")
        logins(stage, settings, progress, identity, targets, max(50, sizes.growth_logins // 5))
        times = rounds(stage, settings, progress, identity, targets, sizes.growth_logins)
        progress.step(f"closing {count:,} streams")
        result = idle.stop(120)
        lost = result["streams"].get("lost", 0)
        if streams < count or lost:
            raise Failure(f"{streams:,} of {count:,} streams were open, {lost:,} were lost: {result['streams'].get('errors')}")
        return {
            "streams": streams,
            "gateways": len(gateways),
            "bytes_per_stream": (held - before) / streams,
            "cpu_percent_per_10k": 100 * cpu / window * 10_000 / streams,
            "kernel": held_kernel.since(kernel),
            "opens_per_second": result["open"]["per_second"],
            "heartbeats": result.get("heartbeats"),
            **times,
        }
