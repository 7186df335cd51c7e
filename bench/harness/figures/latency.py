"""The time from the confirm request to the event's last byte, with more and more idle streams."""

from statistics import median

from .. import measure
from ..processes import Failure
from ..progress import Progress
from ..scene import Scene
from ..settings import Settings, Sizes

# The time between two PINGs and, at most, between two logins: each starts on an idle machine.
PAUSE_MS = 10
# Opening and closing streams has an effect for a while.
REST = 3


def seconds(sizes: Sizes) -> float:
    pings = len(sizes.idle_counts) * sizes.pings * 0.013
    return pings + sum(count / 1_500 + 12 + sizes.rounds * sizes.logins / 80 for count in sizes.idle_counts)


def run(settings: Settings, progress: Progress) -> dict:
    with Scene(settings, progress) as scene:
        gateway = scene.gateway()
        warm_up(scene, [gateway.target], settings.sizes.logins)
        return {"rows": [row(scene, [gateway.target], count) for count in settings.sizes.idle_counts]}


def row(scene: Scene, targets: list[str], count: int) -> dict:
    idle = scene.hold(targets, count) if count else None
    scene.progress.wait(REST, "settling")
    measured = {"idle": count, **rounds(scene, targets, scene.sizes.logins)}
    scene.progress.step("PING")
    program, port, pings = scene.settings.programs.redis_ping, scene.redis.port, scene.sizes.pings
    measured["ping_ms"] = measure.ping(program, port, pings, PAUSE_MS)
    measured["ping_back_to_back_ms"] = measure.ping(program, port, pings * 5, 0)
    if idle:
        lost = idle.stop()["streams"].get("lost", 0)
        if lost:
            raise Failure(f"{lost:,} of {count:,} idle streams were lost meanwhile")
        scene.progress.wait(REST, "closing")
    return measured


def warm_up(scene: Scene, targets: list[str], count: int) -> None:
    """Makes logins without measuring them: the first ones meet cold caches and have to connect."""
    scene.progress.step("the first logins, which are not measured")
    logins(scene, targets, max(50, count // 5))


def logins(scene: Scene, targets: list[str], count: int) -> dict:
    """Makes whole logins, one after the other."""
    load = scene.load(
        "login", targets, "--streams", 0, "--logins", count, "--concurrency-logins", 1,
        "--logins-per-second", 1_000 // PAUSE_MS, "--max-time", "30m",
    )  # fmt: skip
    load.until_phase("closing", "done", seconds=60 + count / 4)
    result = load.finish(30)
    login = result["login"]
    if login["failed"]:
        raise Failure(f"{login['failed']:,} of {count:,} logins failed: {result['streams'].get('errors')}")
    return login


def rounds(scene: Scene, targets: list[str], count: int) -> dict:
    """Returns the median over the rounds of each percentile, and every round."""
    scene.progress.step(f"{scene.sizes.rounds} × {count:,} logins")
    results = [logins(scene, targets, count) for _ in range(scene.sizes.rounds)]
    times = [result["confirm_to_event_ms"] for result in results]
    return {
        "p50_ms": median(time["p50"] for time in times),
        "p90_ms": median(time["p90"] for time in times),
        "p99_ms": median(time["p99"] for time in times),
        "rounds": results,
    }
