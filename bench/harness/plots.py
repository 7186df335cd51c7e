"""Draws the plots as SVG, only from the raw results, and in dark on white, so that they are readable on any background."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: E402

from .results import Results  # noqa: E402

OURS, OTHER, THIRD, FOURTH = "#0b6e4f", "#8d99ae", "#d1495b", "#1d3557"

STYLE = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": "#1a1a1a",
    "axes.labelcolor": "#1a1a1a",
    "axes.edgecolor": "#666666",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    # Text stays text, so that it can be searched and copied. The viewer chooses the font.
    "svg.fonttype": "none",
    # The same results give the same file.
    "svg.hashsalt": "scangate",
}

# The window of a rate, in steps of 100 ms.
RATE_STEPS = 5

THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def draw(raw: dict, out: Path) -> list[Path]:
    """Draws a plot for each figure that has results, and returns the files."""
    results = Results(raw)
    plots = {
        "memory": memory,
        "cpu": cpu,
        "latency": latency,
        "edge": edge,
        "storm": storm,
        "drain": drain,
        "growth": growth,
    }
    files = []
    with pyplot.rc_context(STYLE):
        for name, plot in plots.items():
            figure = plot(results)
            path = out / f"{name}.svg"
            # Remove the plot of an earlier run.
            path.unlink(missing_ok=True)
            if figure is not None:
                figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
                pyplot.close(figure)
                files.append(path)
    return files


def bars(names: list[str], values: list[float], ours: list[bool], title: str, unit: str, digits: int = 0):
    """Draws horizontal bars, the shortest on top, each with its number."""
    order = sorted(range(len(values)), key=lambda index: values[index], reverse=True)
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.42 * len(values)))
    drawn = axes.barh(
        [names[index].replace("`", "") for index in order],
        [values[index] for index in order],
        color=[OURS if ours[index] else OTHER for index in order],
    )
    axes.bar_label(drawn, labels=[f"{values[index]:,.{digits}f}{unit}" for index in order], padding=4)
    axes.set_title(title, loc="left")
    axes.margins(x=0.16)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="y", visible=False)
    return figure


def by_peer(results: Results, value: str, more: list[tuple[str, float]], title: str, unit: str, digits: int):
    rows = [
        (name, results.get(f"idle-{key}", value), key.startswith("scangate"))
        for key, name in results.peers()
        if results.get(f"idle-{key}", value) is not None
    ]
    rows += [(name, number, False) for name, number in more if number is not None]
    if not rows:
        return None
    names, values, ours = (list(column) for column in zip(*rows, strict=True))
    return bars(names, values, ours, title, unit, digits)


def memory(results: Results):
    counts = [results.get(f"idle-{key}", "streams") for key, _ in results.peers()]
    streams = next((count for count in counts if count), 0)
    return by_peer(results, "bytes_per_stream", [], f"User bytes per idle stream, {streams:,} streams", "", 0)


def cpu(results: Results):
    polling = ("polling scangate every 1.5 s", results.get("poll", "cpu_percent_per_10k"))
    return by_peer(
        results, "cpu_percent_per_10k", [polling], "CPU of 10,000 idle streams with heartbeats, % of one core", " %", 2
    )


def edge(results: Results):
    rows = [
        (f"{kind}, {what}", results.get(f"edge-{key}", "bytes_per_stream"), key.endswith("ours"))
        for key, kind, what in (
            ("plain-defaults", "plain HTTP", "nginx defaults"),
            ("plain-ours", "plain HTTP", "our settings"),
            ("tls-defaults", "TLS and h2", "nginx defaults"),
            ("tls-ours", "TLS and h2", "our settings"),
        )
        if results.get(f"edge-{key}", "bytes_per_stream") is not None
    ]
    if not rows:
        return None
    names, values, ours = (list(column) for column in zip(*rows, strict=True))
    return bars(names, values, ours, "nginx in front: user bytes per stream", "", 0)


def latency(results: Results):
    rows = results.get("latency", "rows")
    if rows is None:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 3.6))
    places = range(len(rows))
    for shift, key, color in ((-0.26, "p50_ms", OURS), (0, "p90_ms", OTHER), (0.26, "p99_ms", FOURTH)):
        drawn = axes.bar(
            [place + shift for place in places], [row[key] for row in rows], 0.24, color=color, label=key[:-3]
        )
        axes.bar_label(drawn, fmt="%.2f", padding=2, fontsize=9)
    axes.axhline(rows[0]["ping_ms"]["p50"], color=THIRD, linestyle="--", linewidth=1.2, label="Redis PING, p50")
    axes.set_xticks(list(places), [f"{row['idle']:,}" for row in rows])
    axes.set_xlabel("idle streams")
    axes.set_ylabel("ms")
    axes.margins(y=0.12)
    axes.set_title("Confirm to event", loc="left")
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, ncols=4, loc="upper right", bbox_to_anchor=(1, 1.14))
    return figure


def storm(results: Results):
    return _curve(results, "storm", "A replica is killed: its streams reconnect", [])


def drain(results: Results):
    return _curve(results, "drain", "Rolling restart of two replicas behind nginx", results.get("drain", "marks") or [])


def _curve(results: Results, name: str, title: str, marks: list[dict]):
    timeline = results.get(name, "loadgen", "storm", "timeline")
    if not timeline:
        return None
    event = results.get(name, "loadgen", "storm", "event_at_s")
    # Omit the opening of the streams before the event, and the time after the last change.
    first = (marks[0]["t_s"] if marks else event or 0) - 3
    last_change = max(
        (
            point["t_s"]
            for point, before in zip(timeline[1:], timeline, strict=False)
            if point["open"] != before["open"]
        ),
        default=0,
    )
    last = max([last_change, *(mark["t_s"] for mark in marks)]) + 3
    shown = [point for point in timeline if first <= point["t_s"] <= last] or timeline
    times = [point["t_s"] - first - 3 for point in shown]

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 4.6), sharex=True, height_ratios=[2, 1])
    above.fill_between(times, [point["open"] for point in shown], color=OURS, alpha=0.18, linewidth=0)
    above.plot(times, [point["open"] for point in shown], color=OURS, linewidth=1.8)
    above.set_ylabel("open streams")
    above.set_ylim(bottom=0)
    above.yaxis.set_major_formatter(THOUSANDS)
    above.set_title(title, loc="left", pad=16 if marks else 6)
    rates = [
        (after["opened_total"] - before["opened_total"]) / (after["t_s"] - before["t_s"])
        for before, after in zip(shown, shown[RATE_STEPS:], strict=False)
    ]
    below.plot(times[RATE_STEPS:], rates, color=FOURTH, linewidth=1.2)
    below.set_ylabel("opens per second")
    below.set_ylim(bottom=0)
    below.yaxis.set_major_formatter(THOUSANDS)
    below.set_xlabel("seconds")
    for mark in marks:
        for axes in (above, below):
            axes.axvline(mark["t_s"] - first - 3, color=THIRD, linestyle=":", linewidth=1)
        above.annotate(
            mark["what"], (mark["t_s"] - first - 3, 1), xytext=(2, 3),
            xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8, color=THIRD,
        )  # fmt: skip
    if not marks and event is not None:
        for axes in (above, below):
            axes.axvline(event - first - 3, color=THIRD, linestyle=":", linewidth=1)
    figure.align_ylabels()
    return figure


def growth(results: Results):
    rows = results.get("growth", "rows")
    if rows is None:
        return None
    streams = [row["streams"] for row in rows]
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(11, 3.2))
    left.plot(streams, [row["bytes_per_stream"] for row in rows], "o-", color=OURS)
    left.set_title("user bytes per stream", loc="left")
    left.yaxis.set_major_formatter(THOUSANDS)
    middle.plot(streams, [row["cpu_percent_per_10k"] for row in rows], "o-", color=OURS)
    middle.set_title("CPU per 10,000 streams, %", loc="left")
    for key, color in (("p50_ms", OURS), ("p99_ms", FOURTH)):
        right.plot(streams, [row[key] for row in rows], "o-", color=color, label=key[:-3])
    right.set_title("confirm to event, ms", loc="left")
    right.legend(frameon=False)
    for axes in (left, middle, right):
        axes.set_xscale("log")
        axes.set_xticks(streams, [f"{count / 1000:g}k" for count in streams])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.15)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("streams")
    figure.tight_layout()
    return figure
