"""The cost of a sign-in by OpenID Connect, relative to a login by the API of the same gateway process."""

import secrets
import subprocess
from dataclasses import dataclass
from statistics import median

from .. import measure
from ..processes import Failure
from ..progress import Progress
from ..servers import NO_RATE, Gateway
from ..setup import Setup
from ..settings import Settings, Sizes
from .latency import logins

REDIRECT_URI = "https://app.example/callback"
# The kinds of login take turns, so that a disturbance of the machine affects all of them.
TURNS = 5


@dataclass(frozen=True)
class Kind:
    """One kind of login: a client, and the options of the load generator."""

    title: str
    client: str
    algorithm: str | None = None  # of the client's tokens; without it, logins are by the API
    single_sign_on: bool = False

    def table(self) -> str:
        """Returns the client in the gateway's configuration."""
        lines = ["[[clients]]", f'id = "{self.client}"']
        if self.algorithm:
            lines += [f'redirect_uris = ["{REDIRECT_URI}"]', 'secret_file = "secret"']
            lines += [f'signing_alg = "{self.algorithm}"', f"single_sign_on = {str(self.single_sign_on).lower()}"]
        return "\n".join(lines) + "\n"

    def options(self, secret_file) -> list:
        options = ["--client-id", self.client]
        if self.algorithm:
            options += ["--redirect-uri", REDIRECT_URI, "--client-secret-file", secret_file]
        return options + (["--single-sign-on"] if self.single_sign_on else [])


KINDS = [
    Kind("a login by the API", "web"),
    Kind("a sign-in by a scan, RS256", "rs256", "RS256"),
    Kind("a sign-in by a scan, ES256", "es256", "ES256"),
    Kind("a sign-in by single sign-on, RS256", "sso-rs256", "RS256", single_sign_on=True),
    Kind("a sign-in by single sign-on, ES256", "sso-es256", "ES256", single_sign_on=True),
]


def count(sizes: Sizes) -> int:
    """Returns the number of logins of one kind in one turn."""
    return sizes.counted_logins // TURNS


def seconds(sizes: Sizes) -> float:
    return len(KINDS) * ((TURNS + 0.25) * count(sizes) / 60 + 2 * TURNS) + 10


def run(settings: Settings, progress: Progress) -> dict:
    """Measures the gateway's CPU time and the requests of one login of each kind."""
    logins_per_turn = count(settings.sizes)
    with Setup(settings, progress) as setup:
        directory = setup.sandbox.directory("openid")
        secret_file = directory / "secret"
        secret_file.write_text(secrets.token_urlsafe(32))
        (directory / "clients.toml").write_text("\n".join(kind.table() for kind in KINDS))
        add_rsa_key(setup)
        rates = [part for name in ("authorize", "token") for part in (f"--rate-{name}", NO_RATE)]
        gateway = setup.gateway("--config", directory / "clients.toml", *rates)
        progress.step("warming up with logins of each kind")
        for kind in KINDS:
            logins(setup, [gateway.target], max(50, logins_per_turn // 4), *kind.options(secret_file))
        turns = []
        for turn in range(1, TURNS + 1):
            progress.step(f"turn {turn} of {TURNS}: {logins_per_turn:,} logins of each kind")
            turns.append([one(setup, gateway, logins_per_turn, kind.options(secret_file)) for kind in KINDS])
        return {
            "logins": logins_per_turn,
            "turns": TURNS,
            "rows": [row(kind, [turn[index] for turn in turns], [turn[0] for turn in turns]) for index, kind in enumerate(KINDS)],
        }


def add_rsa_key(setup: Setup) -> None:
    """Adds the key of RS256 to that of ES256."""
    command = [setup.settings.programs.scangate, "keys", "new", "--algorithm", "rs256", "--dir", setup.identity.keys]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if made.returncode:
        raise Failure(f"scangate keys new failed: {made.stderr.strip()}")


def one(setup: Setup, gateway: Gateway, number: int, options: list) -> dict:
    before = measure.cpu_seconds(gateway.process.pid)
    login = logins(setup, [gateway.target], number, *options)
    used = measure.cpu_seconds(gateway.process.pid) - before
    return {"us": used / number * 1e6, "requests": login["requests"] / number, "whole_p50_ms": login["whole_ms"]["p50"]}


def row(kind: Kind, turns: list[dict], by_api: list[dict]) -> dict:
    """Returns the median over the turns, and the least and the most."""
    times = [turn["us"] for turn in turns]
    ratios = [turn["us"] / base["us"] for turn, base in zip(turns, by_api, strict=True)]
    return {
        "kind": kind.title,
        "us": median(times),
        "us_range": [min(times), max(times)],
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "requests": turns[0]["requests"],
        "turns": turns,
    }
