"""Writes the Markdown of a run from the raw results alone, so that old results can be rendered again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from .figures import expiry as expiries
from .figures import topologies as on
from .figures.cost import HEALTHZ_PER_LOGIN
from .peers import PEERS


class Results:
    """The raw results of one run, read without checks whether each figure succeeded."""

    def __init__(self, raw: dict):
        self.raw = raw

    def get(self, figure: str, *path):
        """Returns the value at a path of a figure; None if the figure was not measured, failed, or has no such value."""
        value = self.raw["figures"].get(figure)
        if value is None or value["status"] != "ok":
            return None
        value = value["data"]
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def why_not(self, figure: str) -> str:
        entry = self.raw["figures"].get(figure)
        if entry is None:
            return "not measured"
        if entry["status"] == "absent":
            return entry["reason"]
        return "**failed**, see below" if entry["status"] == "failed" else "has no such value"

    def peers(self) -> Iterable[tuple[str, str]]:
        return ((key, title) for key, (title, _) in PEERS.items() if f"idle-{key}" in self.raw["figures"])


def number(value, digits: int = 0, unit: str = "") -> str:
    return "–" if value is None else f"{value:,.{digits}f}{unit}"


def table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return "not measured\n"
    # The first column is text, the others are numbers.
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, rule, *rows])


def markdown(raw: dict) -> str:
    results = Results(raw)
    sections: list[tuple[str, Callable[[Results], str]]] = [
        ("To reach", to_reach),
        ("Idle streams", idle),
        ("Confirm to event", latency),
        ("One login, one ticket, one poll", cost),
        ("Every request that anybody may send", routes),
        ("Expiry", expiry),
        ("One Redis and a Cluster", topologies),
        ("The edge", edge),
        ("A replica is killed, and a rolling restart", failover),
        ("A page that waits", pages),
        ("Growth", growth),
        ("Failed", failures),
        ("Environment", environment),
    ]
    head = "# scangate, measured\n\n"
    head += f"{raw['started_at']}, {raw['seconds'] / 60:.0f} min, by `{raw['command']}`."
    if raw["quick"]:
        head += " **Quick: these figures only show that everything works.**"
    return head + "\n" + "".join(f"\n## {title}\n\n{text(results)}" for title, text in sections)


# ---- Bounds of the gateway -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A value with a bound, and the figures that it is computed from."""

    what: str
    limit: float
    needs: list[str]
    measured: Callable[[Results], float | None]
    show: Callable[[float], str]


def times(value: float) -> str:
    return f"{value:,.2f} ×"


def share(value: float) -> str:
    return f"1/{1 / value:,.1f}"


def ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or not under else over / under


def targets(results: Results) -> list[Target]:
    sizes = results.raw["sizes"]

    def against(peer: str) -> Callable[[Results], float | None]:
        figures = ("idle-scangate", f"idle-{peer}")
        return lambda results: ratio(*(results.get(figure, "bytes_per_stream") for figure in figures))

    def edges(kind: str) -> Callable[[Results], float | None]:
        figures = (f"edge-{kind}-ours", f"edge-{kind}-defaults")
        return lambda results: ratio(*(results.get(figure, "bytes_per_stream") for figure in figures))

    def cpu(results: Results) -> float | None:
        measured = results.get("idle-scangate", "cpu_percent_per_10k")
        return None if measured is None else 1.5 * measured

    def back(results: Results) -> float | None:
        # A stream that never came back breaks every bound.
        return None if results.get("storm") is None else results.get("storm", "back_after_s") or inf

    def late(name: str) -> Callable[[Results], float | None]:
        return lambda results: results.get(f"expiry-{name}", "lag_ms", "p99")

    def never(name: str) -> Callable[[Results], float | None]:
        return lambda results: results.get(f"expiry-{name}", "missing")

    def cluster(results: Results) -> float | None:
        keys = ("bytes_per_stream", "cpu_percent_per_10k", "p50_ms", "p99_ms")
        ratios = [ratio(results.get("on-cluster", key), results.get("on-standalone", key)) for key in keys]
        return None if None in ratios else max(ratios)

    return [
        Target(
            f"user bytes per idle stream, {sizes['streams']:,} streams on Redis, settled, heartbeats on",
            1_200,
            ["idle-scangate"],
            lambda results: results.get("idle-scangate", "bytes_per_stream"),
            lambda value: f"{value:,.0f}",
        ),
        Target("… against nchan", 1 / 9, ["idle-scangate", "idle-nchan"], against("nchan"), share),
        Target("… against stock axum", 1 / 15, ["idle-scangate", "idle-axum"], against("axum"), share),
        Target(
            f"CPU of 15,000 idle streams, heartbeats every {sizes['heartbeat']} s, of one core",
            1,
            ["idle-scangate"],
            cpu,
            lambda value: f"{value:,.2f} %",
        ),
        Target(
            f"confirm → event, p99 with {sizes['idle_counts'][-1]:,} idle against p99 with none",
            1.5,
            ["latency"],
            lambda results: ratio(
                results.get("latency", "rows", -1, "p99_ms"), results.get("latency", "rows", 0, "p99_ms")
            ),
            times,
        ),
        Target(
            "confirm → event, p50, against a Redis PING round trip, each from rest",
            6,
            ["latency"],
            lambda results: ratio(
                results.get("latency", "rows", 0, "p50_ms"), results.get("latency", "rows", 0, "ping_ms", "p50")
            ),
            times,
        ),
        Target(
            f"{sizes['streams']:,} streams back after a replica is killed",
            5,
            ["storm"],
            back,
            lambda value: "never" if value == inf else f"{value:,.2f} s",
        ),
        Target(
            "… confirmations lost",
            0,
            ["storm"],
            lambda results: results.get("storm", "confirmations", "lost"),
            lambda value: f"{value:,.0f}",
        ),
        *(
            target
            for name, title in expiries.VARIANTS.items()
            for target in (
                Target(
                    f"deadline → `expired`, p99, {sizes.get('expiry_streams', 0):,} tickets among {sizes.get('other_keys', 0):,} other "
                    f"keys, {title}",
                    50,
                    [f"expiry-{name}"],
                    late(name),
                    lambda value: f"{value:,.1f} ms",
                ),
                Target(
                    "… that never came",
                    0,
                    [f"expiry-{name}"],
                    never(name),
                    lambda value: f"{value:,.0f}",
                ),
            )
        ),
        Target(
            f"three gateways and {sizes.get('topology_streams', 0):,} streams, on a Cluster against on one Redis, the worst of "
            "bytes, CPU, p50, p99",
            1.3,
            ["on-standalone", "on-cluster"],
            cluster,
            times,
        ),
        Target(
            f"… on one Redis, all of them read again after the three subscribers were cut off "
            f"({sizes.get('topology_streams', 0) // on.GATEWAYS:,} each)",
            3,
            ["on-standalone"],
            lambda results: results.get("on-standalone", "resync_s"),
            lambda value: f"{value:,.2f} s",
        ),
        *(
            Target(
                f"edge bytes per stream, our nginx settings against its defaults, {name}",
                limit,
                [f"edge-{kind}-ours", f"edge-{kind}-defaults"],
                edges(kind),
                times,
            )
            for kind, name, limit in (("plain", "plain HTTP", 0.7), ("tls", "TLS and h2", 0.8))
        ),
        Target(
            "CPU of a visitor's browser for a page that waits, in the state that takes most, of one core",
            1,
            ["pages"],
            lambda results: max(
                (row["above_empty_percent"] for row in results.get("pages", "rows") or []), default=None
            ),
            lambda value: f"{value:,.2f} %",
        ),
        Target(
            f"CPU of one whole login against that of {HEALTHZ_PER_LOGIN} requests for `/healthz`",
            1,
            ["login-cpu"],
            lambda results: results.get("login-cpu", "ratio"),
            times,
        ),
    ]


def to_reach(results: Results) -> str:
    rows = []
    for target in targets(results):
        measured = target.measured(results)
        if measured is None:
            missing = next(figure for figure in target.needs if results.get(figure) is None)
            shown, verdict = results.why_not(missing), "**not known**"
        else:
            shown, verdict = target.show(measured), "reached" if measured <= target.limit else "**not reached**"
        rows.append([target.what, f"≤ {target.show(target.limit)}", shown, verdict])
    return table(["figure", "at least", "measured", ""], rows)


# ---- The tables ----------------------------------------------------------------------------------------------------


def idle(results: Results) -> str:
    rows = []
    for key, title in results.peers():
        row = results.get(f"idle-{key}")
        if row is None:
            rows.append([title, results.why_not(f"idle-{key}"), *["–"] * 7])
            continue
        given_back = row["after_bytes"] / row["before_bytes"]
        rows.append([
            title,
            number(row["streams"]),
            number(row["bytes_per_stream"]),
            number(row["kernel"]["bytes_per_socket"]),
            number(row["cpu_percent_per_10k"], 2, " %"),
            number(row["opens_per_second"]),
            number((row["heartbeats"] or {}).get("missed")),
            f"{row['before_bytes'] / 1e6:.1f} / {row['after_bytes'] / 1e6:.1f} MB",
            number(given_back, 2, " ×"),
        ])  # fmt: skip
    head = [
        "server", "streams", "user bytes per stream", "kernel bytes per socket", "CPU per 10,000 streams",
        "opens per second", "heartbeats missed", "memory before / after closing", "after / before",
    ]  # fmt: skip
    return table(head, rows)


def latency(results: Results) -> str:
    rows = results.get("latency", "rows")
    if rows is None:
        return results.why_not("latency") + "\n"
    return table(
        [
            "idle streams",
            "p50",
            "p90",
            "p99",
            "Redis PING p50, from rest",
            "… back to back",
            "p50 in PINGs, from rest",
            "… back to back",
        ],
        [
            [
                number(row["idle"]),
                number(row["p50_ms"], 2, " ms"),
                number(row["p90_ms"], 2, " ms"),
                number(row["p99_ms"], 2, " ms"),
                number(row["ping_ms"]["p50"], 3, " ms"),
                number(row["ping_back_to_back_ms"]["p50"], 3, " ms"),
                number(row["p50_ms"] / row["ping_ms"]["p50"], 1, " ×"),
                number(row["p50_ms"] / row["ping_back_to_back_ms"]["p50"], 1, " ×"),
            ]
            for row in rows
        ],
    )


def cost(results: Results) -> str:
    idle_cpu = results.get("idle-scangate", "cpu_percent_per_10k")
    poll_cpu = results.get("poll", "cpu_percent_per_10k")
    rows = [
        [
            "CPU time of one whole login: create, stream, scan, confirm, event",
            "login-cpu",
            number(results.get("login-cpu", "login_us"), 0, " µs"),
        ],
        ["… of Redis for it", "login-cpu", number(results.get("login-cpu", "redis_login_us"), 0, " µs")],
        [
            "CPU time of ten requests for `/healthz`, one connection",
            "login-cpu",
            number(results.get("login-cpu", "healthz_10_us"), 0, " µs"),
        ],
        [
            "… a new connection each",
            "login-cpu",
            number(results.get("login-cpu", "healthz_10_new_connections_us"), 0, " µs"),
        ],
        [
            "bytes in Redis per waiting ticket, without a stream",
            "tickets",
            number(results.get("tickets", "bytes_per_ticket")),
        ],
        ["… with its stream", "idle-scangate", number(results.get("idle-scangate", "redis_bytes_per_stream"))],
        ["CPU of 10,000 users on streams, of one core", "idle-scangate", number(idle_cpu, 2, " %")],
        ["… who poll every 1.5 s instead", "poll", number(poll_cpu, 1, " %")],
        ["… and of Redis then", "poll", number(results.get("poll", "redis_cpu_percent_per_10k"), 1, " %")],
    ]
    return table(
        ["", "measured"], [[what, results.why_not(figure) if value == "–" else value] for what, figure, value in rows]
    )


def routes(results: Results) -> str:
    rows = results.get("routes", "requests") or []
    return table(
        ["request", "CPU of the gateway", "bytes of the answer's body"],
        [[row["request"], number(row["us"], 0, " µs"), number(row["bytes"])] for row in rows],
    )


def expiry(results: Results) -> str:
    rows = []
    for name, title in expiries.VARIANTS.items():
        row = results.get(f"expiry-{name}")
        if row is None:
            rows.append([f"tickets {title}", results.why_not(f"expiry-{name}"), *["–"] * 5])
            continue
        # Percentiles of the delivered events mean little if most were not delivered.
        for what, told in ((f"scangate, tickets {title}", row), ("… plain keyspace notifications beside it", row["plain"])):
            lag = told["lag_ms"]
            some = lag["count"] > 0
            rows.append([
                what, number(row["other_keys"]), number(told["delivered"]), number(told["missing"]),
                *(number(lag[of] if some else None, 1, " ms") for of in ("p50", "p99", "max")),
            ])  # fmt: skip
    return table(["told of", "other keys", "told", "never told", "p50", "p99", "latest"], rows)


def topologies(results: Results) -> str:
    """Returns one row per kind of Redis, and the cost of the others relative to the first."""
    columns = ["bytes_per_stream", "cpu_percent_per_10k", "p50_ms", "p99_ms", "resync_s"]
    rows = []
    for name, (title, _, _) in on.VARIANTS.items():
        row = results.get(f"on-{name}")
        if row is None:
            rows.append([title, results.why_not(f"on-{name}"), *["–"] * 8])
            continue
        base = results.get("on-standalone")
        against = max(ratio(row[key], base[key]) for key in columns[:4]) if base and name != "standalone" else None
        rows.append([
            title,
            number(row["streams"]),
            number(row["bytes_per_stream"]),
            number(row["cpu_percent_per_10k"], 2, " %"),
            number(row["redis_cpu_percent"], 2, " %"),
            f"{number(row['alone']['p50_ms'], 2)} / {number(row['alone']['p99_ms'], 2)}",
            f"{number(row['p50_ms'], 2)} / {number(row['p99_ms'], 2)}",
            number(row["resync_s"], 2, " s"),
            number(against, 2, " ×"),
        ])  # fmt: skip
    head = [
        "three gateways on", "streams", "bytes per stream", "CPU per 10,000", "CPU of Redis, all nodes",
        "confirm → event p50 / p99, no streams, ms", "… beside the streams", "all read again after subscribers were cut",
        "the worst of them against one Redis",
    ]  # fmt: skip
    return table(head, rows)


def edge(results: Results) -> str:
    rows = []
    for kind, name in (("plain", "plain HTTP"), ("tls", "TLS and h2")):
        for variant, settings in (("defaults", "defaults"), ("ours", "our settings")):
            figure = f"edge-{kind}-{variant}"
            row = results.get(figure)
            if row is None:
                rows.append([f"{name}, {settings}", results.why_not(figure), "–", "–"])
            else:
                rows.append([
                    f"{name}, {settings}", number(row["streams"]), number(row["bytes_per_stream"]),
                    number(row["cpu_percent_per_10k"], 2, " %"),
                ])  # fmt: skip
    return table(["nginx", "streams", "user bytes per stream", "CPU per 10,000 streams"], rows)


def failover(results: Results) -> str:
    titles = {"storm": "one of two replicas killed", "drain": "rolling restart behind nginx"}
    rows = []
    for figure, title in titles.items():
        row = results.get(figure)
        if row is None:
            rows.append([title, results.why_not(figure), *["–"] * 6])
            continue
        confirmations = row["confirmations"]
        rows.append([
            title,
            number(row["streams"]),
            number(row["lost_streams"]),
            number(row["back_after_s"], 2, " s") if row["back_after_s"] is not None else "never",
            number(row["peak_opens_per_second"]),
            f"{confirmations['lost']:,} of {confirmations['made']:,}",
            number(row["tickets_lost"]),
            number(row["missing_at_end"]),
        ])  # fmt: skip
    head = [
        "",
        "streams",
        "cut off",
        "all back after",
        "peak of opens per second",
        "confirmations lost",
        "tickets lost",
        "streams missing at the end",
    ]
    return table(head, rows)


def pages(results: Results) -> str:
    rows = results.get("pages", "rows")
    if rows is None:
        return results.why_not("pages") + "\n"
    return table(
        ["state", "CPU of the browser", "above an empty page", "styles computed per second", "laid out per second"],
        [
            [
                row["state"],
                number(row["cpu_percent"], 2, " %"),
                number(row["above_empty_percent"], 2, " %"),
                number(row["styles_per_second"], 1),
                number(row["layouts_per_second"], 1),
            ]
            for row in rows
        ],
    )


def growth(results: Results) -> str:
    rows = results.get("growth", "rows")
    if rows is None:
        return results.why_not("growth") + "\n"
    return table(
        [
            "streams",
            "gateways",
            "user bytes per stream",
            "kernel bytes per socket",
            "CPU per 10,000 streams",
            "opens per second",
            "p50",
            "p99",
        ],
        [
            [
                number(row["streams"]),
                number(row["gateways"]),
                number(row["bytes_per_stream"]),
                number(row["kernel"]["bytes_per_socket"]),
                number(row["cpu_percent_per_10k"], 2, " %"),
                number(row["opens_per_second"]),
                number(row["p50_ms"], 2, " ms"),
                number(row["p99_ms"], 2, " ms"),
            ]
            for row in rows
        ],
    )


def failures(results: Results) -> str:
    failed = [(name, entry) for name, entry in results.raw["figures"].items() if entry["status"] == "failed"]
    if not failed:
        return "Nothing.\n"
    return "".join(f"- `{name}`: " + entry["reason"].replace("\n", "\n  ") + "\n" for name, entry in failed)


def environment(results: Results) -> str:
    rows = [[name, value] for name, value in results.raw["environment"].items()]
    return "".join("| " + " | ".join(row) + " |\n" for row in [["", ""], ["---", "---"], *rows])
