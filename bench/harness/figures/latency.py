"""From the confirm request to the event's last byte, with more and more idle streams beside it."""

from statistics import median

from .. import measure
from ..loadgen import Loadgen
from ..processes import Failure, Stage
from ..progress import Progress
from ..servers import Gateway, Identity, RedisServer
from ..settings import Settings, Sizes

# Between two PINGs and, at most, between two logins: each begins from rest, on a machine that is not busy.
PAUSE_MS = 10


def seconds(sizes: Sizes) -> float:
    return sum(count / 1_500 + 12 + sizes.rounds * sizes.logins / 80 for count in sizes.idle_counts) + 2 * sizes.pings * 0.012


def run(settings: Settings, progress: Progress) -> dict:
    sizes = settings.sizes
    rows = []
    with Stage() as stage:
        redis = RedisServer(stage)
        identity = Identity(stage, settings)
        gateway = Gateway(stage, settings, identity, redis)
        # Not measured: the first logins meet cold caches and connections that are yet to be made.
        logins(stage, settings, progress, identity, [gateway.target], max(50, sizes.logins // 5))
        for count in sizes.idle_counts:
            idle = hold(stage, settings, progress, identity, [gateway.target], count) if count else None
            progress.step(f"{sizes.rounds} × {sizes.logins:,} logins beside {count:,} idle streams")
            row = {"idle": count, **rounds(stage, settings, progress, identity, [gateway.target], sizes.logins)}
            row["ping_ms"] = measure.ping(settings.programs.redis_ping, redis.port, sizes.pings, PAUSE_MS)
            row["ping_back_to_back_ms"] = measure.ping(settings.programs.redis_ping, redis.port, sizes.pings * 5, 0)
            if idle:
                lost = idle.stop()["streams"].get("lost", 0)
                if lost:
                    raise Failure(f"{lost:,} of {count:,} idle streams were lost meanwhile")
                stage_settles(progress)
            rows.append(row)
    return {"rows": rows}


def hold(stage: Stage, settings: Settings, progress: Progress, identity: Identity, targets: list[str], count: int) -> Loadgen:
    """Opens idle streams and leaves them open."""
    progress.step(f"opening {count:,} idle streams")
    load = Loadgen(
        stage, settings, progress, "idle", targets,
        "--streams", count, "--rate", 0, "--hold", "1h", "--max-time", "2h",
        "--approver-token-file", identity.token_file,
    )  # fmt: skip
    load.until_phase("holding", seconds=120 + count / 50, of=count)
    progress.wait(3, "settling")
    return load


def logins(stage: Stage, settings: Settings, progress: Progress, identity: Identity, targets: list[str], count: int) -> dict:
    """So many whole logins, one after the other."""
    load = Loadgen(
        stage, settings, progress, "login", targets,
        "--streams", 0, "--logins", count, "--concurrency-logins", 1, "--logins-per-second", 1_000 // PAUSE_MS,
        "--approver-token-file", identity.token_file, "--max-time", "30m",
    )  # fmt: skip
    load.until_phase("done", "closing", seconds=60 + count / 4)
    result = load.finish(30)
    failed = result["login"]["failed"]
    if failed:
        raise Failure(f"{failed:,} of {count:,} logins failed: {result['streams'].get('errors')}")
    return result["login"]


def rounds(stage: Stage, settings: Settings, progress: Progress, identity: Identity, targets: list[str], count: int) -> dict:
    """The median over the rounds of each percentile, and every round beside it."""
    results = [logins(stage, settings, progress, identity, targets, count) for _ in range(settings.sizes.rounds)]
    times = [result["confirm_to_event_ms"] for result in results]
    return {
        "p50_ms": median(time["p50"] for time in times),
        "p90_ms": median(time["p90"] for time in times),
        "p99_ms": median(time["p99"] for time in times),
        "rounds": results,
    }


def stage_settles(progress: Progress) -> None:
    """Lets the gateway find out that the streams are gone before the next ones come."""
    progress.wait(3, "closing")
