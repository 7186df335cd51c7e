"""The measuring part of `bench/run`: it measures the figures one after the other and writes the results."""

import argparse
import json
import resource
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from . import environment, report
from .figures import FIGURES, Figure
from .peers import Unavailable
from .processes import Failure
from .progress import Progress, clock
from .settings import FULL, QUICK, SPARE_FILES, Programs, Settings, with_streams


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", add_help=False)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--streams", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--render", type=Path)
    # The gateway's revision, if it was built from these sources.
    parser.add_argument("--revision", default="built elsewhere")
    for program in ("scangate", "loadgen", "axum-sse", "redis-ping"):
        parser.add_argument(f"--{program}", type=Path, default=Path(program))
    return parser.parse_args()


def refuse(reason: str) -> NoReturn:
    print(f"bench/run: {reason}", file=sys.stderr)
    raise SystemExit(2)


def chosen(only: str) -> dict[str, Figure]:
    """Returns the figures in a comma-separated list; `idle` selects all that begin with `idle-`."""
    if not only:
        return FIGURES
    wanted = {}
    for name in only.split(","):
        exact = {name: FIGURES[name]} if name in FIGURES else None
        matching = exact or {key: figure for key, figure in FIGURES.items() if key.startswith(f"{name}-")}
        if not matching:
            refuse(f"unknown figure {name}; --list shows all")
        wanted |= matching
    return {key: figure for key, figure in FIGURES.items() if key in wanted}


def settings_from(arguments: argparse.Namespace) -> Settings:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sizes = QUICK if arguments.quick else FULL
    if arguments.streams is not None:
        if arguments.streams < 100:
            refuse("--streams must be at least 100; fewer do not show the cost of one stream")
        sizes = with_streams(sizes, arguments.streams)
    needed = max(sizes.streams, sizes.per_gateway) + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        refuse(
            f"{needed - SPARE_FILES:,} streams need {needed:,} open files per process, but {hard:,} are allowed; "
            f"raise the limit with `ulimit -n {needed}`, or use --streams {max(100, hard - SPARE_FILES)}"
        )
    programs = Programs(arguments.scangate, arguments.loadgen, arguments.axum_sse, arguments.redis_ping)
    return Settings(sizes, programs, arguments.out, tuple(chosen(arguments.only)), arguments.quick)


def measure(figure: Figure, settings: Settings, progress: Progress) -> dict:
    """Measures one figure. A failure becomes part of the result."""
    start = time.monotonic()
    try:
        result = {"status": "ok", "data": figure.run(settings, progress)}
    except Unavailable as reason:
        result = {"status": "absent", "reason": str(reason)}
    except Failure as reason:
        result = {"status": "failed", "reason": str(reason)}
    except Exception:  # An error in the benchmark fails only this figure.
        result = {"status": "failed", "reason": "an error in the benchmark itself\n" + traceback.format_exc()}
    return {**result, "seconds": time.monotonic() - start}


def write(raw: dict, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    (out / "results.md").write_text(report.markdown(raw))
    # Imported here, so that --list and wrong options need no matplotlib.
    from . import plots

    plots.draw(raw, out)


def main() -> int:
    arguments = options()
    if arguments.render or arguments.list:
        # No process was started, so a closed pipe may end the program.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if arguments.render:
        raw = json.loads((arguments.render / "results.json").read_text())
        write(raw, arguments.render)
        print(report.markdown(raw))
        return 0
    figures = chosen(arguments.only)
    settings = settings_from(arguments)
    if arguments.list:
        for name, figure in figures.items():
            print(f"{name:<24} {clock(figure.seconds(settings.sizes)):>6}  {figure.title}")
        return 0

    # Both signals raise the same exception: leaving a figure stops everything that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress(len(figures), sum(figure.seconds(settings.sizes) for figure in figures.values()))
    raw = {
        "command": "bench/run" + "".join(f" {part}" for part in shown_arguments(arguments)),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "quick": settings.quick,
        "sizes": vars(settings.sizes),
        "environment": environment.describe(settings, arguments.revision),
        "figures": {},
    }
    interrupted = False
    for number, (name, figure) in enumerate(figures.items(), 1):
        progress.figure(number, name, figure.title, figure.seconds(settings.sizes))
        try:
            entry = measure(figure, settings, progress)
        except KeyboardInterrupt:
            progress.step("stopped")
            interrupted = True
            break
        if entry["status"] != "ok":
            progress.step(f"{entry['status']}: {entry['reason']}")
        raw["figures"][name] = entry
        raw["seconds"] = progress.elapsed()
        # Write the results after each figure, in case the run is interrupted.
        write(raw, settings.out)

    if raw["figures"]:
        print(report.markdown(raw))
        print(f"Plots, this text and the raw numbers are in {settings.out}", file=sys.stderr)
    if interrupted:
        return 130
    return 1 if any(entry["status"] == "failed" for entry in raw["figures"].values()) else 0


def shown_arguments(arguments: argparse.Namespace) -> list[str]:
    shown = []
    if arguments.quick:
        shown.append("--quick")
    if arguments.only:
        shown += ["--only", arguments.only]
    if arguments.streams:
        shown += ["--streams", str(arguments.streams)]
    return shown


if __name__ == "__main__":
    sys.exit(main())
