"""The common setup of scangate's figures: a sandbox, Redis, an identity provider; gateways and load as needed."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from .loadgen import Loadgen
from .processes import Sandbox
from .progress import Progress
from .servers import Edge, Gateway, Identity, RedisServer
from .settings import Settings

# Bounds for streams that are held until the figure stops them, in case this program is killed.
HELD = ["--hold", "1h", "--max-time", "2h"]


class Setup(AbstractContextManager):
    """The setup of one figure. Leaving it stops everything that it started."""

    def __init__(self, settings: Settings, progress: Progress, redis: Callable[[Sandbox], RedisServer] = RedisServer):
        self.settings = settings
        self.sizes = settings.sizes
        self.progress = progress
        self.sandbox = Sandbox()
        try:
            self.redis = redis(self.sandbox)
            self.identity = Identity(self.sandbox, settings)
        except BaseException:
            self.sandbox.close()
            raise

    def __exit__(self, *_) -> None:
        self.sandbox.close()

    def gateway(
        self, *options, name: str = "scangate", public_url: str | None = None, demo: bool = False
    ) -> Gateway:
        place = {"name": name, "public_url": public_url, "demo": demo}
        return Gateway(self.sandbox, self.settings, self.identity, self.redis, *options, **place)

    def edge(self, gateways: list[Gateway], port: int, *, ours: bool, tls: bool) -> Edge:
        return Edge(self.sandbox, gateways, port, ours=ours, tls=tls)

    def load(self, scenario: str, targets: list[str], *options) -> Loadgen:
        if scenario in {"login", "storm"}:
            options = (*options, "--approver-token-file", self.identity.token_file)
        return Loadgen(self.sandbox, self.settings, self.progress, scenario, targets, *options)

    def hold(self, targets: list[str], count: int, *options) -> Loadgen:
        """Opens `count` idle streams, without a rate limit unless the options set one, and leaves them open."""
        self.progress.step(f"opening {count:,} streams")
        load = self.load("idle", targets, "--streams", count, *HELD, *(options or ("--rate", 0)))
        load.until_phase("holding", seconds=120 + count / 50, of=count)
        return load
