"""The size of each measurement, and the options of the whole run.

Two sizes: the full one, whose figures are quoted, and the quick one, which only shows that everything works.
"""

from dataclasses import dataclass, replace
from pathlib import Path

# The files that a process opens besides one per stream: for Redis, listeners, and the connections that create tickets.
SPARE_FILES = 2_000


@dataclass(frozen=True)
class Sizes:
    """The counts and times of one run."""

    streams: int  # the idle streams of most figures
    heartbeat: int  # seconds; the gateway and every peer get it as a setting
    heartbeats: int  # the number of them over which CPU is measured
    idle_counts: tuple[int, ...]  # for the latency
    rounds: int  # of logins, of which the median is taken
    logins: int  # in one round
    pings: int
    counted_logins: int  # for the CPU time of one login
    counted_requests: int  # of each kind, for the CPU time of one request
    tickets: int  # for the bytes in Redis
    pollers: int
    expiry_streams: int
    expiry_ttl: int  # seconds, the lifetime of a ticket in `expiry`
    other_keys: int  # filler keys with a time to live, in the same Redis
    topology_streams: int  # over three gateways
    edge_streams: int
    drain_streams: int
    growth: tuple[int, ...]
    growth_logins: int
    per_gateway: int  # streams on one gateway of the growth table
    page_window: int  # seconds that a page in a browser is watched in each state

    def window(self, heartbeats: int | None = None) -> float:
        """Returns the seconds in which every stream sends the same number of heartbeats, whenever it was opened."""
        return float(self.heartbeat * (heartbeats or self.heartbeats))


FULL = Sizes(
    streams=15_000,
    heartbeat=25,
    heartbeats=3,
    idle_counts=(0, 1_000, 15_000),
    rounds=3,
    logins=1_000,
    pings=2_000,
    counted_logins=2_000,
    counted_requests=2_000,
    tickets=10_000,
    pollers=3_000,
    expiry_streams=10_000,
    expiry_ttl=120,
    other_keys=1_000_000,
    topology_streams=50_000,
    edge_streams=8_000,
    drain_streams=10_000,
    growth=(1_000, 5_000, 15_000, 50_000, 150_000),
    growth_logins=1_000,
    per_gateway=15_000,
    page_window=20,
)

QUICK = Sizes(
    streams=1_000,
    heartbeat=5,
    heartbeats=2,
    idle_counts=(0, 200, 1_000),
    rounds=1,
    logins=200,
    pings=500,
    counted_logins=200,
    counted_requests=100,
    tickets=1_000,
    pollers=300,
    expiry_streams=500,
    expiry_ttl=15,
    other_keys=50_000,
    topology_streams=1_500,
    edge_streams=500,
    drain_streams=500,
    growth=(250, 500, 1_000),
    growth_logins=200,
    per_gateway=500,
    page_window=5,
)


def with_streams(sizes: Sizes, streams: int) -> Sizes:
    """Returns the same sizes with another number of idle streams, which no process exceeds."""
    return replace(
        sizes,
        streams=streams,
        idle_counts=tuple(sorted({count for count in sizes.idle_counts[:-1] if count < streams} | {streams})),
        expiry_streams=min(sizes.expiry_streams, streams),
        topology_streams=min(sizes.topology_streams, 3 * streams),
        edge_streams=min(sizes.edge_streams, streams),
        drain_streams=min(sizes.drain_streams, streams),
        per_gateway=min(sizes.per_gateway, streams),
        growth=tuple(count for count in sizes.growth if count <= 10 * streams),
    )


@dataclass(frozen=True)
class Programs:
    """The measured programs, and the programs that measure them."""

    scangate: Path
    loadgen: Path
    axum_sse: Path
    redis_ping: Path


@dataclass(frozen=True)
class Settings:
    """The options of one run."""

    sizes: Sizes
    programs: Programs
    out: Path
    only: tuple[str, ...]
    quick: bool
