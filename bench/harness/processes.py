"""The processes of a figure: each has a log, and all are stopped at the end, also after an error.

Every wait has a timeout. If a process ends unexpectedly, the error shows the last lines of its log.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path


class Failure(Exception):
    """A figure cannot be measured. The text gives the reason and, if known, the fix."""


class Process:
    """One started program, with its children."""

    def __init__(self, name: str, popen: subprocess.Popen, log: Path):
        self.name = name
        self.popen = popen
        self.log = log

    @property
    def pid(self) -> int:
        return self.popen.pid

    def died(self) -> bool:
        return self.popen.poll() is not None

    def last_output(self, lines: int = 8) -> str:
        text = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(text[-lines:]) or "(no output)"

    def require_alive(self) -> None:
        if self.died():
            raise Failure(f"{self.name} ended with code {self.popen.returncode}:\n{self.last_output()}")

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Returns the exit code. Raises `Failure` if the program still runs after `seconds`."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} is still running after {seconds:.0f} s") from None

    def stop(self, seconds: float = 10) -> None:
        """Stops the program and all of its children; kills them if they do not stop."""
        if not self.died():
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)
        # The program leads a process group, which contains its children.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(5)


class Sandbox(AbstractContextManager):
    """A temporary directory and the processes started in it. Leaving it stops and removes everything."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="scangate-bench-"))
        self.processes: list[Process] = []
        self._count = 0

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        for process in reversed(self.processes):
            process.stop(seconds=3)
        shutil.rmtree(self.dir, ignore_errors=True)

    def directory(self, name: str) -> Path:
        self._count += 1
        path = self.dir / f"{self._count:02}-{name}"
        path.mkdir()
        return path

    def start(self, name: str, command: list, **popen) -> Process:
        """Starts a program in a process group of its own, so that Ctrl-C reaches only this program."""
        self._count += 1
        log = self.dir / f"{self._count:02}-{name.replace(' ', '-')}.log"
        # If this program is killed, the kernel kills what it started.
        command = ["setpriv", "--pdeathsig", "TERM", *map(str, command)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SCANGATE_")}
        with log.open("wb") as output:
            popen = {"stdout": output, "stderr": output, **popen}
            process = Process(
                name,
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, start_new_session=True, cwd=self.dir, env=environment, **popen
                ),
                log,
            )
        self.processes.append(process)
        return process

    def stop(self, process: Process, seconds: float = 10) -> None:
        process.stop(seconds)
        self.processes.remove(process)


_returned: set[int] = set()


def free_port() -> int:
    """Returns a port that nothing listens on, a different one at every call.

    The port is below the range of outgoing connections. Otherwise a server that is restarted after a storm might find its
    port taken by a client.
    """
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1_000):
        port = random.randrange(max(1_100, lowest_outgoing - 10_000), max(2_000, lowest_outgoing))
        if port not in _returned and not listening(port):
            _returned.add(port)
            return port
    raise Failure("no free port on 127.0.0.1")


def until(what: str, ready, seconds: float, process: Process | None = None, every: float = 0.05):
    """Waits until `ready()` is true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        if process is not None:
            process.require_alive()
        value = ready()
        if value:
            return value
        if time.monotonic() > deadline:
            output = f"; the last output of {process.name}:\n{process.last_output()}" if process else ""
            raise Failure(f"{what}: not within {seconds:.0f} s{output}")
        time.sleep(every)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
