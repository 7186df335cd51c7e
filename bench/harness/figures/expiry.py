"""The lag of `expired` events among many filler keys, and the lag of plain keyspace notifications in the same run."""

from ..processes import Failure
from ..progress import Progress
from ..setup import Setup
from ..servers import RedisCluster, RedisServer
from ..settings import Settings, Sizes

# The seconds that the load generator waits for plain keys after the last deadline.
GRACE = 20
KEYS_PER_SECOND = 400_000

VARIANTS = {
    "spread": "created evenly over most of a ticket's lifetime",
    "together": "all created, and expiring, within two seconds",
    "cluster": "the same on a Cluster of three primaries",
}
TOGETHER = 2


def rate(sizes: Sizes, name: str) -> int:
    """Returns the tickets to create per second, so that the last ticket is created before the first one expires."""
    duration = 0.8 * sizes.expiry_ttl if name == "spread" else TOGETHER
    return max(1, round(sizes.expiry_streams / duration))


def seconds_of(name: str):
    def seconds(sizes: Sizes) -> float:
        opening = sizes.expiry_streams / rate(sizes, name)
        return opening + sizes.expiry_ttl + GRACE + 2 * sizes.other_keys / KEYS_PER_SECOND + 5

    return seconds


def of(name: str):
    """Returns the measurement of one variant."""

    def run(settings: Settings, progress: Progress) -> dict:
        sizes = settings.sizes
        count, expected = sizes.expiry_streams, seconds_of(name)(sizes)
        with Setup(settings, progress, RedisCluster if name == "cluster" else RedisServer) as setup:
            gateway = setup.gateway("--ticket-ttl", f"{sizes.expiry_ttl}s")
            progress.step(f"writing {sizes.other_keys:,} other keys")
            load = setup.load(
                "expiry", [gateway.target], "--streams", count, "--rate", rate(sizes, name),
                "--redis-url", setup.redis.url, "--other-keys", sizes.other_keys, "--max-time", "15m",
            )  # fmt: skip
            load.until_phase("opening", "running", seconds=60 + sizes.other_keys / 20_000)
            load.until_phase("running", seconds=120 + expected, of=count)
            progress.step("waiting until the tickets and the plain keys expire")
            load.until_phase("closing", "done", seconds=60 + expected)
            # Includes the time for removing the filler keys.
            result = load.finish(60 + sizes.other_keys / 20_000)
            if result["streams"]["opened"] < count:
                opened, errors = result["streams"]["opened"], result["streams"]["errors"]
                raise Failure(f"{opened:,} of {count:,} streams were opened: {errors}")
            plain = result["expiry"]["plain"]
            if plain["count"] < count or plain["broken_connections"]:
                raise Failure(f"the comparison with plain keys failed: {plain}")
            return {"streams": count, "rate": rate(sizes, name), "loadgen": result, **result["expiry"]}

    return run
