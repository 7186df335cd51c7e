"""The effect on presenters when a replica is killed (a storm), or when replicas are restarted in turn (a drain)."""

import signal
import time

from .. import measure
from ..loadgen import Loadgen
from ..processes import Failure, free_port, until
from ..progress import Progress
from ..setup import Setup
from ..settings import Settings, Sizes
from .edge import OPENS_PER_SECOND, addresses

LOGINS_PER_SECOND = 5
# Long enough for all streams to open on the first replica, and for the second to start and become idle.
STORM_AFTER = 25
STORM_HOLD = 30
# The gateway ends its streams over 5 s and exits after at most 30 s.
DRAIN_BOUND = 45
DRAIN_REST = 8
# Long enough for both restarts. The load generator then waits for the last confirmations.
DRAIN_HOLD = 110


def storm_seconds(sizes: Sizes) -> float:
    return sizes.streams / 1_000 + STORM_AFTER + STORM_HOLD + 10


def storm(settings: Settings, progress: Progress) -> dict:
    """Kills one of two replicas, which holds as many streams as one process in the other figures.

    The second replica starts only when the first holds all streams. The load generator spreads its streams over its targets,
    and a stream that cannot connect to the second replica goes to the first.
    """
    count = settings.sizes.streams
    with Setup(settings, progress) as setup:
        first, second = (setup.gateway(name=f"scangate {name}") for name in "AB")
        setup.sandbox.stop(second.process)
        load = setup.load(
            "storm", [first.target, second.target], "--streams", count, "--rate", 0,
            "--pid", first.process.pid, "--signal", "kill", "--after", f"{STORM_AFTER}s", "--hold", f"{STORM_HOLD}s",
            "--logins-per-second", LOGINS_PER_SECOND, "--max-time", "10m",
        )  # fmt: skip
        load.until_phase("holding", "running", seconds=120 + count / 50, of=count)
        opened = time.monotonic()
        all_open(load, count, STORM_AFTER - 8)
        second.start()
        if time.monotonic() - opened > STORM_AFTER - 3:
            raise Failure("the second replica was not ready in time before the first was killed")
        cpu = measure.cpu_seconds(second.process.pid)
        progress.step("waiting for the kill, and until all streams have reconnected")
        load.until_phase("closing", "done", seconds=STORM_AFTER + STORM_HOLD + 90, of=count)
        second.process.require_alive()
        cpu = measure.cpu_seconds(second.process.pid) - cpu
        result = load.finish(60)
        return {"streams": count, "survivor_cpu_seconds": cpu, **outcome(result), "loadgen": result}


def all_open(load: Loadgen, count: int, seconds: float) -> None:
    """Waits until all streams are open, except those whose tickets are being confirmed."""
    enough = count - 2 * LOGINS_PER_SECOND
    until(f"{count:,} streams open", lambda: load.status["open"] >= enough, seconds, load.process)


def outcome(result: dict) -> dict:
    """Returns the losses, and the figures of the reconnects."""
    streams, storm = result["streams"], result["storm"]
    confirmations = storm["confirmations"]
    return {
        "lost_streams": storm.get("lost_streams"),
        "back_after_s": storm.get("back_after_s"),
        "peak_opens_per_second": storm.get("peak_opens_per_second"),
        "confirmations": confirmations,
        # No ticket expires here, after half an hour. A ticket that was replaced without a confirmation was lost.
        "tickets_lost": max(0, streams.get("renewed", 0) - confirmations["delivered"]),
        "missing_at_end": streams["wanted"] - streams["open_at_end"],
        "reconnect_ms": storm.get("reconnect_ms"),
    }


def drain_seconds(sizes: Sizes) -> float:
    return sizes.drain_streams / OPENS_PER_SECOND + DRAIN_HOLD + 10


def drain(settings: Settings, progress: Progress) -> dict:
    """Stops and restarts each of two replicas behind nginx with our settings."""
    count = settings.sizes.drain_streams
    with Setup(settings, progress) as setup:
        port = free_port()
        url = f"http://localhost:{port}"
        gateways = [setup.gateway(name=f"scangate {name}", public_url=url) for name in "AB"]
        edge = setup.edge(gateways, port, ours=True, tls=False)
        load = setup.load(
            "storm", [edge.target], "--streams", count, "--rate", OPENS_PER_SECOND, "--hold", f"{DRAIN_HOLD}s",
            "--logins-per-second", LOGINS_PER_SECOND, "--source-addresses", addresses(count), "--max-time", "15m",
        )  # fmt: skip
        load.until_phase("holding", "running", seconds=120 + count / 50, of=count)
        all_open(load, count, DRAIN_REST)
        start = time.monotonic() - load.status["t"]
        marks = []

        def mark(text: str) -> None:
            marks.append({"t_s": time.monotonic() - start, "what": text})
            progress.step(text)

        progress.wait(DRAIN_REST, f"{count:,} streams open")
        for name, gateway in zip("AB", gateways, strict=True):
            mark(f"stop {name}")
            gateway.process.signal(signal.SIGTERM)
            code = gateway.process.wait(DRAIN_BOUND)
            if code:
                raise Failure(f"{gateway.name} ended with code {code} on SIGTERM:\n{gateway.process.last_output()}")
            mark(f"{name} ended")
            progress.wait(DRAIN_REST / 2, f"{name} is stopped")
            gateway.start()
            mark(f"{name} ready")
            progress.wait(DRAIN_REST, f"{load.status['open']:,} streams open")
        if load.status["phase"] != "running":
            raise Failure(f"the restarts took longer than {DRAIN_HOLD} s, for which the streams were held")
        progress.step("waiting until all streams have reconnected")
        load.until_phase("closing", "done", seconds=DRAIN_HOLD + 90, of=count)
        result = load.finish(60)
        return {"streams": count, "marks": marks, **outcome(result), "loadgen": result}
