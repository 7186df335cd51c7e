"""Three gateways on one Redis and on a Cluster. Their cost should be the same. Also the cost of waiting for replicas."""

import time

from .. import measure
from ..processes import Failure, until
from ..progress import Progress
from ..setup import Setup
from ..servers import RedisCluster, RedisServer
from ..settings import Settings, Sizes
from .idle import SETTLE, require_all
from .latency import rounds, warm_up

GATEWAYS = 3
HEARTBEATS = 2
# The seconds within which all tickets must be read again after a subscriber connection was lost.
RESYNC_TIMEOUT = 60

VARIANTS = {
    "standalone": ("one Redis", RedisServer, ()),
    "cluster": ("a Cluster of three primaries", RedisCluster, ("--redis-wait-replicas", "0")),
    "replicated": (
        "a Cluster of three primaries with a replica each, which changes wait for",
        lambda sandbox: RedisCluster(sandbox, replicas=1),
        ("--redis-wait-replicas", "1"),
    ),
}


def seconds(sizes: Sizes) -> float:
    logins = 2 * sizes.rounds * sizes.growth_logins / 80
    return sizes.topology_streams / 1_200 + SETTLE + sizes.window(HEARTBEATS) + logins + 40


def of(name: str):
    """Returns the measurement of one variant."""
    _, redis, options = VARIANTS[name]

    def run(settings: Settings, progress: Progress) -> dict:
        sizes = settings.sizes
        count = sizes.topology_streams
        with Setup(settings, progress, redis) as setup:
            gateways = [setup.gateway(*options, name=f"scangate {number}") for number in range(1, GATEWAYS + 1)]
            targets = [gateway.target for gateway in gateways]
            pids = [gateway.process.pid for gateway in gateways]
            warm_up(setup, targets, sizes.growth_logins)
            alone = rounds(setup, targets, sizes.growth_logins)
            progress.wait(SETTLE, "at rest before")
            before = sum(map(measure.user_bytes, pids))

            idle = setup.hold(targets, count)
            progress.wait(SETTLE, "settling")
            cpu, redis_cpu = sum(map(measure.cpu_seconds, pids)), redis_seconds(setup)
            window = sizes.window(HEARTBEATS)
            progress.wait(window, f"{HEARTBEATS} heartbeats")
            cpu, redis_cpu = sum(map(measure.cpu_seconds, pids)) - cpu, redis_seconds(setup) - redis_cpu
            streams = idle.status["open"]
            held = sum(map(measure.user_bytes, pids))
            times = rounds(setup, targets, sizes.growth_logins)
            resync = read_again(setup, gateways, progress)
            result = idle.stop(120)
            require_all(result, streams, count)
            return {
                "streams": streams,
                "bytes_per_stream": (held - before) / streams,
                "cpu_percent_per_10k": 100 * cpu / window * 10_000 / streams,
                "redis_cpu_percent": 100 * redis_cpu / window,
                "alone": alone,
                **times,
                **resync,
            }

    return run


def redis_seconds(setup: Setup) -> float:
    return sum(measure.cpu_seconds(process.pid) for process in setup.redis.processes)


def read_again(setup: Setup, gateways: list, progress: Progress) -> dict:
    """Disconnects every subscriber at once, and waits until all of their tickets were subscribed and read again."""
    progress.step("disconnecting the subscribers")

    def totals() -> tuple[float, float, float]:
        series = [measure.metrics(gateway.admin_port) for gateway in gateways]
        names = ("scangate_subscriber_missed_total", 'scangate_store_seconds_count{operation="get"}', "scangate_streams_open")
        return tuple(sum(each[name] for each in series) for name in names)

    missed, reads, streams = totals()
    started = time.monotonic()
    for node in setup.redis.nodes:
        node.ask("CLIENT KILL TYPE pubsub")

    def is_complete() -> bool:
        now_missed, now_reads, _ = totals()
        return now_missed - missed >= streams and now_reads - reads >= streams

    until("every ticket is read again", is_complete, RESYNC_TIMEOUT)
    duration = time.monotonic() - started
    if totals()[2] < streams:
        raise Failure("streams were lost when their subscriber was disconnected")
    return {"resync_s": duration, "resync_streams": streams}
