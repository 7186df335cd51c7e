"""The Markdown that a run ends with: made from the raw results alone, so that old ones can be rendered again."""

from collections.abc import Callable, Iterable

from .peers import PEERS


class Results:
    """The raw results of one run, read without asking whether each figure succeeded."""

    def __init__(self, raw: dict):
        self.raw = raw

    def get(self, figure: str, *path):
        """The value at that path of a figure; None if the figure was not taken, failed, or has no such value."""
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
        return f"**failed**: {entry['reason'].splitlines()[0]}" if entry["status"] == "failed" else "has no such value"

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
        ("The edge", edge),
        ("A replica is killed, and a rolling restart", failover),
        ("Growth", growth),
        ("Failed", failures),
        ("Environment", environment),
    ]
    head = "# scangate, measured\n\n"
    head += f"{raw['started_at']}, {raw['seconds'] / 60:.0f} min, by `{raw['command']}`."
    if raw["quick"]:
        head += " **Quick: these figures only show that everything works.**"
    return head + "\n" + "".join(f"\n## {title}\n\n{text(results)}" for title, text in sections)


# ---- What the gateway is held to -----------------------------------------------------------------------------------


def targets(results: Results) -> list[dict]:
    """Each figure that is held to a bound: what was measured, and whether that is within it."""
    found = []

    def bound(figure: str, limit: float, measured, unit: str, digits: int, needs: Iterable[str]) -> None:
        reached = None if measured is None else measured <= limit
        reason = next((results.why_not(name) for name in needs if results.get(name) is None), "has no such value")
        found.append({
            "figure": figure,
            "limit": f"≤ {limit:g}{unit}" if limit < 1_000 else f"≤ {limit:,.0f}{unit}",
            "measured": reason if measured is None else number(measured, digits, unit),
            "reached": reached,
        })  # fmt: skip

    def ratio(over, under):
        return None if over is None or not under else over / under

    ours = results.get("idle-scangate", "bytes_per_stream")
    streams = results.get("idle-scangate", "streams")
    held = f"{number(streams)} streams"
    bound(f"user bytes per idle stream, {held} on Redis, settled, heartbeats on", 1_200, ours, "", 0, ["idle-scangate"])
    for peer, limit, share in (("nchan", 1 / 9, "1/9"), ("axum", 1 / 15, "1/15")):
        needs = ["idle-scangate", f"idle-{peer}"]
        measured = ratio(ours, results.get(f"idle-{peer}", "bytes_per_stream"))
        bound(f"… against {PEERS[peer][0]}", limit, measured, " ×", 3, needs)
        found[-1]["limit"] = f"≤ {share}"
        if measured:
            found[-1]["measured"] = f"1/{1 / measured:.1f}"
    per_10k = results.get("idle-scangate", "cpu_percent_per_10k")
    cpu = per_10k * 1.5 if per_10k is not None else None
    bound("CPU of 15,000 idle streams, heartbeats on, of one core", 1, cpu, " %", 2, ["idle-scangate"])

    rows = results.get("latency", "rows") or [{}]
    alone, beside = rows[0], rows[-1]
    bound(
        f"confirm → event, p99 with {number(beside.get('idle'))} idle against p99 with none",
        1.5, ratio(beside.get("p99_ms"), alone.get("p99_ms")), " ×", 2, ["latency"],
    )  # fmt: skip
    bound(
        "confirm → event, p50, against a Redis PING round trip, each from rest",
        6, ratio(alone.get("p50_ms"), (alone.get("ping_ms") or {}).get("p50")), " ×", 2, ["latency"],
    )  # fmt: skip
    back = results.get("storm", "back_after_s")
    bound(
        f"{number(results.get('storm', 'lost_streams'))} streams back after a replica is killed",
        5,
        back,
        " s",
        2,
        ["storm"],
    )
    if results.get("storm") is not None and back is None:
        found[-1]["measured"], found[-1]["reached"] = "never", False
    bound("… confirmations lost", 0, results.get("storm", "confirmations", "lost"), "", 0, ["storm"])
    for kind, name, limit in (("plain", "plain", 0.7), ("tls", "TLS", 0.8)):
        needs = [f"edge-{kind}-ours", f"edge-{kind}-defaults"]
        measured = ratio(*(results.get(figure, "bytes_per_stream") for figure in needs))
        bound(
            f"edge bytes per stream, our nginx settings against its defaults, {name}", limit, measured, " ×", 2, needs
        )
    bound(
        "CPU of one whole login against that of ten requests for `/healthz`",
        1, results.get("login-cpu", "ratio"), " ×", 2, ["login-cpu"],
    )  # fmt: skip
    return found


def to_reach(results: Results) -> str:
    said = {True: "reached", False: "**not reached**", None: "**not known**"}
    rows = [[row["figure"], row["limit"], row["measured"], said[row["reached"]]] for row in targets(results)]
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
        "opens per second", "heartbeats missed", "memory before / after closing", "",
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
