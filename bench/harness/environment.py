"""The machine and the programs of a run. Figures are comparable only if these are the same."""

import os
import platform
import re
import subprocess
from pathlib import Path

from .servers import ROOT, files_limit
from .settings import Settings


def describe(settings: Settings, revision: str) -> dict[str, str]:
    """Returns one line for each part, in the order of the report."""
    lock = (ROOT / "bench/peers/axum-sse/Cargo.lock").read_text()
    axum = re.search(r'name = "axum"\nversion = "([^"]+)"', lock)
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    processor = model[1] if model else platform.machine()
    return {
        "machine": f"{os.cpu_count()} cores ({processor}), {int(memory[1]) / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "files per process": f"{files_limit():,}",
        "scangate": f"{_first_line(settings.programs.scangate, '--version')}, {revision}",
        "loadgen": _first_line(settings.programs.loadgen, "--version"),
        "redis": _first_line("redis-server", "--version"),
        "nginx": _first_line("nginx", "-v"),
        "nchan": _first_line("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"),
        "axum": axum[1] if axum else "unknown",
        "node": _first_line("node", "--version"),
        "chromium": _first_line("chromium", "--version"),
        "rustc": _first_line("rustc", "--version"),
        "python": platform.python_version(),
    }


def _first_line(*command) -> str:
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=10, cwd=ROOT)
    except OSError:
        return "unknown"
    return (done.stdout or done.stderr).strip().partition("\n")[0] or "unknown"
