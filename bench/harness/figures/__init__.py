"""The figures, in the order of measurement. Each is independent of the others and starts what it needs."""

from collections.abc import Callable
from dataclasses import dataclass

from ..peers import PEERS
from ..progress import Progress
from ..settings import Settings, Sizes
from . import cost, edge, expiry, failover, growth, idle, latency, openid, pages, routes, topologies


@dataclass(frozen=True)
class Figure:
    """One figure. `run` returns plain data for the raw JSON."""

    title: str
    seconds: Callable[[Sizes], float]
    run: Callable[[Settings, Progress], dict]


FIGURES: dict[str, Figure] = {
    **{
        f"idle-{key}": Figure(f"idle streams on {title}", idle.seconds, idle.of(key))
        for key, (title, _) in PEERS.items()
    },
    "poll": Figure("the same users, polling every 1.5 s", cost.poll_seconds, cost.poll),
    "latency": Figure("confirm to event, beside idle streams", latency.seconds, latency.run),
    "login-cpu": Figure("CPU time of one complete login, and of ten /healthz", cost.login_cpu_seconds, cost.login_cpu),
    "openid-login-cpu": Figure("CPU time of a sign-in by OpenID Connect, and of a login", openid.seconds, openid.run),
    "routes": Figure("CPU time of every request that needs no login", routes.seconds, routes.run),
    "tickets": Figure("bytes in Redis per waiting ticket", cost.tickets_seconds, cost.tickets),
    **{
        f"edge-{name}": Figure(f"nginx in front, {title}", edge.seconds, edge.of(name))
        for name, title in edge.VARIANTS.items()
    },
    **{
        f"expiry-{name}": Figure(f"expired tickets among other keys, {title}", expiry.seconds_of(name), expiry.of(name))
        for name, title in expiry.VARIANTS.items()
    },
    **{
        f"on-{name}": Figure(f"three gateways on {title}", topologies.seconds, topologies.of(name))
        for name, (title, _, _) in topologies.VARIANTS.items()
    },
    "storm": Figure("a replica is killed, its streams reconnect", failover.storm_seconds, failover.storm),
    "drain": Figure("a rolling restart behind nginx", failover.drain_seconds, failover.drain),
    "pages": Figure("a waiting page in the user's browser", pages.seconds, pages.run),
    "growth": Figure("cost per stream, with more and more streams", growth.seconds, growth.run),
}
