"""Three gateways on one Redis and on a Cluster: per process they should cost the same. Also the cost of the wait for replicas."""

import time

from .. import measure
from ..processes import Failure, until
from ..progress import Progress
from ..scene import Scene
from ..servers import RedisCluster, RedisServer
from ..settings import Settings, Sizes
from .idle import SETTLE, require_all
from .latency import rounds, warm_up

GATEWAYS = 3
HEARTBEATS = 2
# How long the streams of a lost subscriber connection may take to be read again.
RESYNC_TIMEOUT = 60

VARIANTS = {
    "standalone": ("one Redis", RedisServer, ()),
    "cluster": ("a Cluster of three primaries", RedisCluster, ("--redis-wait-replicas", "0")),
    "replicated": (
        "… each with a replica, which changes wait for",
        lambda stage: RedisCluster(stage, replicas=1),
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
        with Scene(settings, progress, redis) as scene:
            gateways = [scene.gateway(*options, name=f"scangate {number}") for number in range(1, GATEWAYS + 1)]
            targets = [gateway.target for gateway in gateways]
            pids = [gateway.process.pid for gateway in gateways]
            warm_up(scene, targets, sizes.growth_logins)
            alone = rounds(scene, targets, sizes.growth_logins)
            progress.wait(SETTLE, "at rest before")
            before = sum(map(measure.user_bytes, pids))

            idle = scene.hold(targets, count)
            progress.wait(SETTLE, "settling")
            cpu, redis_cpu = sum(map(measure.cpu_seconds, pids)), redis_seconds(scene)
            window = sizes.window(HEARTBEATS)
            progress.wait(window, f"{HEARTBEATS} heartbeats")
            cpu, redis_cpu = sum(map(measure.cpu_seconds, pids)) - cpu, redis_seconds(scene) - redis_cpu
            streams = idle.status["open"]
            held = sum(map(measure.user_bytes, pids))
            times = rounds(scene, targets, sizes.growth_logins)
            resync = read_again(scene, gateways, progress)
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


def redis_seconds(scene: Scene) -> float:
    return sum(measure.cpu_seconds(process.pid) for process in scene.redis.processes)


def read_again(scene: Scene, gateways: list, progress: Progress) -> dict:
    """Disconnects every subscriber at once, and waits until each of their tickets was subscribed and read again."""
    progress.step("cutting the subscribers off")

    def totals() -> tuple[float, float, float]:
        series = [measure.metrics(gateway.admin_port) for gateway in gateways]
        names = ("scangate_subscriber_missed_total", 'scangate_store_seconds_count{operation="get"}', "scangate_streams_open")
        return tuple(sum(each[name] for each in series) for name in names)

    missed, reads, streams = totals()
    began = time.monotonic()
    for node in scene.redis.nodes:
        node.ask("CLIENT KILL TYPE pubsub")

    def is_over() -> bool:
        now_missed, now_reads, _ = totals()
        return now_missed - missed >= streams and now_reads - reads >= streams

    until("every stream is read again", is_over, RESYNC_TIMEOUT)
    took = time.monotonic() - began
    if totals()[2] < streams:
        raise Failure("streams were lost when their subscriber was cut off")
    return {"resync_s": took, "resync_streams": streams}
