"""Reads measurements of running processes from the kernel, Redis and metrics."""

import json
import os
import re
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from .processes import Failure

PAGE = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """Returns the process and all of its descendants, such as the workers of nginx."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.name))
    found, rest = [], [pid]
    while rest:
        found.append(rest.pop())
        rest += parents.get(found[-1], [])
    return found


def user_bytes(pid: int) -> int:
    """Returns the proportional set size of the process and its descendants. Memory that they share is counted once."""
    total = 0
    for member in family(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise Failure(
                "/proc/PID/smaps_rollup cannot be read; run the benchmark as the user who owns the processes"
            ) from error
        # Swapped memory still belongs to the process.
        for kilobytes in re.findall(r"^(?:Pss|SwapPss):\s+(\d+) kB", rollup, re.MULTILINE):
            total += int(kilobytes) * 1024
    return total


def cpu_seconds(pid: int) -> float:
    """Returns the user and system time of the process and its descendants so far.

    It is the sum of utime and stime in /proc/PID/stat, but in nanoseconds instead of hundredths of a second.
    """
    total = 0.0
    for member in family(pid):
        # The clock id of clock_getcpuclockid(3): the complement of the pid, and 2 for the scheduler's time.
        with suppress(OSError):
            total += time.clock_gettime((~member << 3) | 2)
    return total


@dataclass(frozen=True)
class Kernel:
    """The kernel memory of the whole machine that includes open sockets."""

    slab: int  # all slab caches: sockets, files, inodes, epoll entries, and all other kernel objects
    buffers: int  # the pages of TCP: data that is queued in sockets
    sockets: int  # TCP sockets in use, both ends

    @staticmethod
    def now() -> "Kernel":
        slab = int(re.search(r"^Slab:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)[1]) * 1024
        tcp = re.search(r"^TCP: inuse (\d+) .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
        return Kernel(slab=slab, buffers=int(tcp[2]) * PAGE, sockets=int(tcp[1]))

    def since(self, before: "Kernel", expected: int) -> dict:
        """Returns the growth. It has bytes per socket only if about as many sockets were added as expected.

        The memory is that of the whole machine, so another program that opens connections distorts the figure.
        """
        sockets = self.sockets - before.sockets
        grown = self.slab + self.buffers - before.slab - before.buffers
        is_undisturbed = abs(sockets - expected) < 0.1 * expected
        return {
            "sockets": sockets,
            "slab_bytes": self.slab - before.slab,
            "buffer_bytes": self.buffers - before.buffers,
            "bytes_per_socket": grown / sockets if is_undisturbed else None,
        }


class Redis:
    """A Redis client for simple commands, with one connection per command."""

    def __init__(self, port: int):
        self.port = port

    def ask(self, command: str) -> str:
        """Returns the reply to a command whose words have no spaces, if it is a line or a text."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            reader = connection.makefile("rb")
            head = reader.readline().decode().strip()
            if head.startswith("-"):
                raise Failure(f"Redis refuses {command!r}: {head[1:]}")
            return reader.read(int(head[1:])).decode() if head.startswith("$") else head[1:]

    def info(self, section: str) -> dict[str, str]:
        text = self.ask(f"INFO {section}")
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def used_memory(self) -> int:
        return int(self.info("memory")["used_memory"])


def ping(program: Path, port: int, count: int, pause_ms: float) -> dict:
    """Measures round trips of a Redis PING from an async Rust process, in milliseconds."""
    command = [program, f"redis://127.0.0.1:{port}/", str(count), str(pause_ms)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + count * (pause_ms + 5) / 1000)
    if done.returncode:
        raise Failure(f"{program.name} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def metrics(port: int) -> dict[str, float]:
    """Returns every series of a gateway's metrics."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    series = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in series}


def requests(port: int, path: str, count: int, keep_alive: bool = True) -> float:
    """Sends GET requests one after the other, and returns the seconds that they took."""
    start = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(count):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise Failure(f"GET {path} returned {response.status}")
        if not keep_alive:
            connection.close()
    connection.close()
    return time.monotonic() - start
