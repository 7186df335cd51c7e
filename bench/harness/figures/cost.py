"""The cost of a login, a poll, and a ticket."""

import json
from http.client import HTTPConnection

from .. import measure
from ..processes import Failure
from ..progress import Progress
from ..setup import HELD, Setup
from ..settings import Settings, Sizes
from .latency import logins

POLL_INTERVAL = 1.5
HEALTHZ_PER_LOGIN = 10


def poll_seconds(sizes: Sizes) -> float:
    return sizes.pollers / 1_000 + sizes.window() + 12


def poll(settings: Settings, progress: Progress) -> dict:
    """Measures the CPU of polling presenters, as in systems without event streams."""
    sizes = settings.sizes
    with Setup(settings, progress) as setup:
        gateway, redis = setup.gateway(), setup.redis
        load = setup.load(
            "poll", [gateway.target], "--streams", sizes.pollers, "--interval", f"{POLL_INTERVAL}s", "--rate", 0, *HELD
        )
        load.until_phase("running", "holding", seconds=120, of=sizes.pollers)
        progress.wait(5, "settling")
        window = sizes.window()
        cpu, redis_cpu = measure.cpu_seconds(gateway.process.pid), measure.cpu_seconds(redis.process.pid)
        progress.wait(window, f"{sizes.pollers:,} users poll every {POLL_INTERVAL} s")
        cpu = measure.cpu_seconds(gateway.process.pid) - cpu
        redis_cpu = measure.cpu_seconds(redis.process.pid) - redis_cpu
        result = load.stop()
        wanted = sizes.pollers / POLL_INTERVAL
        if result["poll"]["per_second"] < 0.9 * wanted:
            raise Failure(
                f"{result['poll']['per_second']:.0f} polls per second instead of {wanted:.0f}: "
                "the machine is too slow for so many users"
            )
        return {
            "users": sizes.pollers,
            "cpu_percent_per_10k": 100 * cpu / window * 10_000 / sizes.pollers,
            "redis_cpu_percent_per_10k": 100 * redis_cpu / window * 10_000 / sizes.pollers,
            "loadgen": result,
        }


def login_cpu_seconds(sizes: Sizes) -> float:
    return sizes.counted_logins / 60 + 20


def login_cpu(settings: Settings, progress: Progress) -> dict:
    """Measures the gateway's CPU time for a complete login, and for ten requests that do nothing."""
    count = settings.sizes.counted_logins
    with Setup(settings, progress) as setup:
        gateway, redis = setup.gateway(), setup.redis
        logins(setup, [gateway.target], max(100, count // 10))

        progress.step(f"{count:,} logins")
        cpu, redis_cpu = measure.cpu_seconds(gateway.process.pid), measure.cpu_seconds(redis.process.pid)
        logins(setup, [gateway.target], count)
        login = (measure.cpu_seconds(gateway.process.pid) - cpu) / count
        redis_login = (measure.cpu_seconds(redis.process.pid) - redis_cpu) / count

        progress.step(f"{count * HEALTHZ_PER_LOGIN:,} requests for /healthz")
        measure.requests(gateway.admin_port, "/healthz", 500)
        cpu = measure.cpu_seconds(gateway.process.pid)
        measure.requests(gateway.admin_port, "/healthz", count * HEALTHZ_PER_LOGIN)
        healthz = (measure.cpu_seconds(gateway.process.pid) - cpu) / count
        cpu = measure.cpu_seconds(gateway.process.pid)
        measure.requests(gateway.admin_port, "/healthz", count * HEALTHZ_PER_LOGIN, keep_alive=False)
        with_new_connections = (measure.cpu_seconds(gateway.process.pid) - cpu) / count
        if not healthz:
            raise Failure("the requests for /healthz took less CPU time than the kernel counts; measure more logins")
        return {
            "logins": count,
            "login_us": login * 1e6,
            "redis_login_us": redis_login * 1e6,
            "healthz_10_us": healthz * 1e6,
            "healthz_10_new_connections_us": with_new_connections * 1e6,
            "ratio": login / healthz,
        }


def tickets_seconds(sizes: Sizes) -> float:
    return sizes.tickets / 800 + 5


def tickets(settings: Settings, progress: Progress) -> dict:
    """Measures the bytes in Redis of tickets without a stream. The idle figure includes those with a stream."""
    count = settings.sizes.tickets
    with Setup(settings, progress) as setup:
        gateway, redis = setup.gateway(), setup.redis
        create_tickets(gateway.port, 10)
        before = redis.info.used_memory()
        progress.step(f"{count:,} tickets")
        create_tickets(gateway.port, count)
        return {"tickets": count, "bytes_per_ticket": (redis.info.used_memory() - before) / count}


def create_tickets(port: int, count: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(count):
        connection.request("POST", "/v1/tickets")
        response = connection.getresponse()
        body = response.read()
        if response.status != 201:
            raise Failure(f"a ticket was refused with {response.status}: {json.loads(body).get('detail', body)}")
    connection.close()
