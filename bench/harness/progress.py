"""Shows the current step, its progress and the expected time on standard error."""

import sys
import time


class Progress:
    """Writes lines to a log, or updates one line on a terminal."""

    def __init__(self, figures: int, seconds: float):
        self.figures = figures
        self.expected = seconds
        self.started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._figure = ""
        self._last = 0.0

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def figure(self, number: int, name: str, title: str, seconds: float) -> None:
        self._figure = name
        elapsed = f"{clock(self.elapsed())} of about {clock(self.expected)} elapsed"
        self._line(f"[{number}/{self.figures}] {name}: {title} (about {clock(seconds)}; {elapsed})")

    def step(self, text: str) -> None:
        """Starts a step."""
        self._line(f"      {self._figure}: {text}")

    def working(self, text: str) -> None:
        """Updates the progress of the current step."""
        now = time.monotonic()
        if self._terminal:
            if now - self._last > 0.5:
                self._last = now
                print(f"\r\033[K      {self._figure}: {text}", end="", file=sys.stderr, flush=True)
        elif now - self._last > 15:
            self._line(f"      {self._figure}: {text}")

    def wait(self, seconds: float, text: str) -> None:
        """Waits, and shows the remaining time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.working(f"{text}, {clock(left)} left")
            time.sleep(min(left, 0.5))

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        start = "\r\033[K" if self._terminal else ""
        print(f"{start}{text}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
