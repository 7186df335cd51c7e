"""Runs the load generator, follows its phases, and returns its result."""

import json
import signal
import subprocess
import threading
import time
from pathlib import Path

from .processes import Failure, Process, Sandbox
from .progress import Progress
from .settings import Settings

INTERRUPTED = 130


class Loadgen:
    """One run of the load generator."""

    def __init__(
        self, sandbox: Sandbox, settings: Settings, progress: Progress, scenario: str, targets: list[str], *options
    ):
        self.progress = progress
        self.scenario = scenario
        self.result_file: Path = sandbox.directory("loadgen") / "result.json"
        self.status: dict = {"phase": "starting", "open": 0, "t": 0.0}
        self._errors: list[str] = []
        self._sandbox = sandbox
        command = [settings.programs.loadgen, scenario]
        for target in targets:
            command += ["--target", target]
        command += ["--json", self.result_file, "--status", "json"]
        self.process: Process = sandbox.start(f"loadgen {scenario}", [*command, *options], stderr=subprocess.PIPE)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for line in self.process.popen.stderr:
            text = line.decode(errors="replace").strip()
            try:
                status = json.loads(text)
                self.status = {**self.status, **status}
            except (ValueError, TypeError):
                self._errors = [*self._errors[-20:], text]

    def until_phase(self, *phases: str, seconds: float, of: int | None = None) -> None:
        """Waits until it is in one of these phases. `of` is the number of streams to open."""
        deadline = time.monotonic() + seconds
        while self.status["phase"] not in phases:
            if self.process.died():
                # The last lines may still be in the pipe.
                time.sleep(0.2)
                if self.status["phase"] in phases:
                    return
                raise Failure(f"loadgen {self.scenario} ended with code {self.process.popen.returncode}: {self.last_output()}")
            if time.monotonic() > deadline:
                raise Failure(
                    f"loadgen {self.scenario} is still {self.status['phase']} after {seconds:.0f} s, "
                    f"with {self.status['open']:,} streams open: {self.last_output()}"
                )
            if of:
                self.progress.working(f"{self.status['phase']}: {self.status['open']:,} of {of:,} streams")
            time.sleep(0.05)

    def last_output(self) -> str:
        return "\n".join(self._errors) or "(no output)"

    def stop(self, seconds: float = 60) -> dict:
        """Interrupts it as Ctrl-C does, and returns the result so far."""
        self.process.signal(signal.SIGTERM)
        return self.finish(seconds)

    def finish(self, seconds: float) -> dict:
        """Waits for its end and returns its result."""
        code = self.process.wait(seconds)
        self._sandbox.stop(self.process)
        # 1 means that something was lost; the result has the numbers.
        if code not in (0, 1, INTERRUPTED):
            raise Failure(f"loadgen {self.scenario} ended with code {code}: {self.last_output()}")
        try:
            return json.loads(self.result_file.read_text())
        except (OSError, ValueError) as error:
            raise Failure(f"loadgen {self.scenario} (code {code}) left no result: {error}; {self.last_output()}") from error
