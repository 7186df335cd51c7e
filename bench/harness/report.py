"""Writes the Markdown of a run, only from the raw results, so that old results can be rendered again."""

from collections.abc import Callable

from .figures import expiry as expiries
from .figures import topologies as on
from .results import Results, number, ratio, table
from .targets import table_of_targets


def markdown(raw: dict) -> str:
    results = Results(raw)
    sections: list[tuple[str, Callable[[Results], str]]] = [
        ("Targets", table_of_targets),
        ("Idle streams", idle),
        ("Confirm to event", latency),
        ("One login, one ticket, one poll", cost),
        ("Sign-ins by OpenID Connect", openid),
        ("Every request that needs no login", routes),
        ("Expiry", expiry),
        ("One Redis and a Cluster", topologies),
        ("The edge", edge),
        ("A replica is killed, and a rolling restart", failover),
        ("A waiting page", pages),
        ("Growth", growth),
        ("Failed", failures),
        ("Environment", environment),
    ]
    head = "# Measurements of scangate\n\n"
    head += f"{raw['started_at']}, {raw['seconds'] / 60:.0f} min, by `{raw['command']}`."
    if raw["quick"]:
        head += " **Quick: these figures only show that everything works.**"
    return head + "\n" + "".join(f"\n## {title}\n\n{text(results)}" for title, text in sections)


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
            "CPU time of one complete login: create, stream, scan, confirm, event",
            "login-cpu",
            number(results.get("login-cpu", "login_us"), 0, " µs"),
        ],
        ["… of Redis for the same login", "login-cpu", number(results.get("login-cpu", "redis_login_us"), 0, " µs")],
        [
            "CPU time of ten requests for `/healthz`, one connection",
            "login-cpu",
            number(results.get("login-cpu", "healthz_10_us"), 0, " µs"),
        ],
        [
            "… with a new connection for each",
            "login-cpu",
            number(results.get("login-cpu", "healthz_10_new_connections_us"), 0, " µs"),
        ],
        [
            "bytes in Redis per waiting ticket, without a stream",
            "tickets",
            number(results.get("tickets", "bytes_per_ticket")),
        ],
        ["… with its stream", "idle-scangate", number(results.get("idle-scangate", "redis_bytes_per_stream"))],
        ["CPU of 10,000 users with streams, of one core", "idle-scangate", number(idle_cpu, 2, " %")],
        ["… of users that poll every 1.5 s instead", "poll", number(poll_cpu, 1, " %")],
        ["… of Redis for the same users", "poll", number(results.get("poll", "redis_cpu_percent_per_10k"), 1, " %")],
    ]
    return table(
        ["", "measured"], [[what, results.why_not(figure) if value == "–" else value] for what, figure, value in rows]
    )


def openid(results: Results) -> str:
    rows = []
    for row in results.get("openid-login-cpu", "rows") or []:
        (least, most), (low, high) = row["us_range"], row["ratio_range"]
        rows.append([
            row["kind"],
            number(row["requests"]),
            f"{row['us']:,.0f} µs ({least:,.0f} to {most:,.0f})",
            f"{row['ratio']:.2f} × ({low:.2f} to {high:.2f})",
        ])  # fmt: skip
    return table(["", "requests", "CPU of the gateway", "relative to a login by the API"], rows)


def routes(results: Results) -> str:
    rows = results.get("routes", "requests") or []
    return table(
        ["request", "CPU of the gateway", "bytes of the response's body"],
        [[row["request"], number(row["us"], 0, " µs"), number(row["bytes"])] for row in rows],
    )


def expiry(results: Results) -> str:
    rows = []
    for name, title in expiries.VARIANTS.items():
        row = results.get(f"expiry-{name}")
        if row is None:
            rows.append([f"tickets {title}", results.why_not(f"expiry-{name}"), *["–"] * 5])
            continue
        # Percentiles of the delivered notifications mean little if most were not delivered.
        for source, events in ((f"scangate, tickets {title}", row), ("… plain keyspace notifications beside it", row["plain"])):
            lag = events["lag_ms"]
            has_events = lag["count"] > 0
            rows.append([
                source, number(row["other_keys"]), number(events["delivered"]), number(events["missing"]),
                *(number(lag[of] if has_events else None, 1, " ms") for of in ("p50", "p99", "max")),
            ])  # fmt: skip
    return table(["notification", "other keys", "delivered", "never delivered", "p50", "p99", "latest"], rows)


def topologies(results: Results) -> str:
    """Returns one row per kind of Redis, with its cost relative to the first."""
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
        "confirm → event p50 / p99, no streams, ms", "… beside the streams", "all tickets read again after the subscribers were disconnected",
        "the worst of these relative to one Redis",
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
        "streams lost",
        "all reconnected after",
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
        ["state", "CPU of the browser", "above an empty page", "styles computed per second", "layouts per second"],
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
