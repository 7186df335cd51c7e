"""Reads the raw results of a run, and formats values and tables for reports."""

from collections.abc import Iterable

from .peers import PEERS


class Results:
    """The raw results of one run. Values of figures without a result are None."""

    def __init__(self, raw: dict):
        self.raw = raw

    def get(self, figure: str, *path):
        """Returns the value at a path of a figure; None if the figure was not measured, failed, or has no such value."""
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
        return "**failed**, see below" if entry["status"] == "failed" else "has no such value"

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


def ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or not under else over / under
