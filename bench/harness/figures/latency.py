"""The time from the confirm request to the event's last byte, with more and more idle streams."""

from statistics import median

from .. import measure
from ..processes import Failure
from ..progress import Progress
from ..setup import Setup
from ..settings import Settings, Sizes

# The time between two PINGs, and the minimum between two logins, so that each starts on an idle machine.
PAUSE_MS = 10
# The seconds until the effects of opening and closing streams are over.
REST = 3


def seconds(sizes: Sizes) -> float:
    pings = len(sizes.idle_counts) * sizes.pings * 0.013
    return pings + sum(count / 1_500 + 12 + sizes.rounds * sizes.logins / 80 for count in sizes.idle_counts)


def run(settings: Settings, progress: Progress) -> dict:
    with Setup(settings, progress) as setup:
        gateway = setup.gateway()
        warm_up(setup, [gateway.target], settings.sizes.logins)
        return {"rows": [row(setup, [gateway.target], count) for count in settings.sizes.idle_counts]}


def row(setup: Setup, targets: list[str], count: int) -> dict:
    idle = setup.hold(targets, count) if count else None
    setup.progress.wait(REST, "settling")
    measured = {"idle": count, **rounds(setup, targets, setup.sizes.logins)}
    setup.progress.step("PING")
    program, port, pings = setup.settings.programs.redis_ping, setup.redis.port, setup.sizes.pings
    measured["ping_ms"] = measure.ping(program, port, pings, PAUSE_MS)
    measured["ping_back_to_back_ms"] = measure.ping(program, port, pings * 5, 0)
    if idle:
        lost = idle.stop()["streams"].get("lost", 0)
        if lost:
            raise Failure(f"{lost:,} of {count:,} idle streams were lost")
        setup.progress.wait(REST, "closing")
    return measured


def warm_up(setup: Setup, targets: list[str], count: int) -> None:
    """Performs logins without measuring them: the first ones have cold caches and open connections."""
    setup.progress.step("warming up with logins")
    logins(setup, targets, max(50, count // 5))


def logins(setup: Setup, targets: list[str], count: int, *options) -> dict:
    """Performs complete logins, one after the other."""
    load = setup.load(
        "login", targets, "--streams", 0, "--logins", count, "--concurrency-logins", 1,
        "--logins-per-second", 1_000 // PAUSE_MS, "--max-time", "30m", *options,
    )  # fmt: skip
    load.until_phase("closing", "done", seconds=60 + count / 4)
    result = load.finish(30)
    login = result["login"]
    if login["failed"]:
        raise Failure(f"{login['failed']:,} of {count:,} logins failed: {result['streams'].get('errors')}")
    return login


def rounds(setup: Setup, targets: list[str], count: int) -> dict:
    """Returns the median over the rounds of each percentile, and every round."""
    setup.progress.step(f"{setup.sizes.rounds} × {count:,} logins")
    results = [logins(setup, targets, count) for _ in range(setup.sizes.rounds)]
    times = [result["confirm_to_event_ms"] for result in results]
    return {
        "p50_ms": median(time["p50"] for time in times),
        "p90_ms": median(time["p90"] for time in times),
        "p99_ms": median(time["p99"] for time in times),
        "rounds": results,
    }
