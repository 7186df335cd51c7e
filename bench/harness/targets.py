"""The targets of the gateway: each is a bound on a value that is computed from the raw results."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from .figures import expiry as expiries
from .figures import topologies
from .figures.cost import HEALTHZ_PER_LOGIN
from .results import Results, ratio, table


@dataclass(frozen=True)
class Target:
    """A value with a bound, and the figures that it is computed from."""

    name: str
    limit: float
    needs: list[str]
    measured: Callable[[Results], float | None]
    show: Callable[[float], str]


def times(value: float) -> str:
    return f"{value:,.2f} ×"


def share(value: float) -> str:
    return f"1/{1 / value:,.1f}"


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
        # A stream that never reconnected exceeds every bound.
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
        Target("… relative to nchan", 1 / 9, ["idle-scangate", "idle-nchan"], against("nchan"), share),
        Target("… relative to stock axum", 1 / 15, ["idle-scangate", "idle-axum"], against("axum"), share),
        Target(
            f"CPU of 15,000 idle streams, heartbeats every {sizes['heartbeat']} s, of one core",
            1,
            ["idle-scangate"],
            cpu,
            lambda value: f"{value:,.2f} %",
        ),
        Target(
            f"confirm → event, p99 with {sizes['idle_counts'][-1]:,} idle, relative to p99 without",
            1.5,
            ["latency"],
            lambda results: ratio(
                results.get("latency", "rows", -1, "p99_ms"), results.get("latency", "rows", 0, "p99_ms")
            ),
            times,
        ),
        Target(
            "confirm → event, p50, relative to a Redis PING round trip, each from rest",
            6,
            ["latency"],
            lambda results: ratio(
                results.get("latency", "rows", 0, "p50_ms"), results.get("latency", "rows", 0, "ping_ms", "p50")
            ),
            times,
        ),
        Target(
            f"{sizes['streams']:,} streams reconnected after a replica is killed",
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
                    "… never delivered",
                    0,
                    [f"expiry-{name}"],
                    never(name),
                    lambda value: f"{value:,.0f}",
                ),
            )
        ),
        Target(
            f"three gateways and {sizes.get('topology_streams', 0):,} streams, on a Cluster relative to one Redis, the worst of "
            "bytes, CPU, p50, p99",
            1.3,
            ["on-standalone", "on-cluster"],
            cluster,
            times,
        ),
        Target(
            f"… on one Redis, all tickets read again after the three subscribers were disconnected "
            f"({sizes.get('topology_streams', 0) // topologies.GATEWAYS:,} each)",
            3,
            ["on-standalone"],
            lambda results: results.get("on-standalone", "resync_s"),
            lambda value: f"{value:,.2f} s",
        ),
        *(
            Target(
                f"edge bytes per stream, our nginx settings relative to its defaults, {name}",
                limit,
                [f"edge-{kind}-ours", f"edge-{kind}-defaults"],
                edges(kind),
                times,
            )
            for kind, name, limit in (("plain", "plain HTTP", 0.7), ("tls", "TLS and h2", 0.8))
        ),
        Target(
            "CPU of a user's browser for a waiting page, in its most expensive state, of one core",
            1,
            ["pages"],
            lambda results: max(
                (row["above_empty_percent"] for row in results.get("pages", "rows") or []), default=None
            ),
            lambda value: f"{value:,.2f} %",
        ),
        Target(
            f"CPU of one complete login, relative to {HEALTHZ_PER_LOGIN} requests for `/healthz`",
            1,
            ["login-cpu"],
            lambda results: results.get("login-cpu", "ratio"),
            times,
        ),
    ]


def table_of_targets(results: Results) -> str:
    rows = []
    for target in targets(results):
        measured = target.measured(results)
        if measured is None:
            missing = next(figure for figure in target.needs if results.get(figure) is None)
            shown, verdict = results.why_not(missing), "**unknown**"
        else:
            shown, verdict = target.show(measured), "met" if measured <= target.limit else "**missed**"
        rows.append([target.name, f"≤ {target.show(target.limit)}", shown, verdict])
    return table(["figure", "target", "measured", ""], rows)
