"""A headless Chromium with one page, driven over the pipe of its DevTools Protocol. It knows nothing of the gateway."""

import fcntl
import json
import os
import select
import time

from .processes import Failure, Sandbox, until

# Disables everything in the browser that would run besides the measured page.
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions",
    "--window-size=1000,1150", "--remote-debugging-pipe",
]  # fmt: skip
# Chromium reads commands from descriptor 3 and writes responses to 4. Bash assigns these numbers.
WITH_PIPES = 'exec "$@" 3<&{} 4>&{}'
# Above every descriptor that bash itself uses.
FIRST_DESCRIPTOR = 20
RESPONSE_SECONDS = 20


class Chromium:
    """One browser with one page. The sandbox stops it."""

    def __init__(self, sandbox: Sandbox):
        read_commands, self._commands = os.pipe()
        self._responses, write_responses = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, FIRST_DESCRIPTOR) for end in (read_commands, write_responses)]
        profile = sandbox.directory("chromium")
        command = ["bash", "-c", WITH_PIPES.format(*ends), "bash", "chromium", *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        self.process = sandbox.start("chromium", command, pass_fds=ends)
        for end in (read_commands, write_responses, *ends):
            os.close(end)
        self._buffer = b""
        self._sent = 0
        self._session = None
        until("Chromium has a page", lambda: self._pages(), 30, self.process)
        self._session = self.command("Target.attachToTarget", targetId=self._pages()[0], flatten=True)["sessionId"]
        self.command("Page.enable")

    def _pages(self) -> list[str]:
        targets = self.command("Target.getTargets")["targetInfos"]
        return [target["targetId"] for target in targets if target["type"] == "page"]

    def command(self, method: str, **params) -> dict:
        """Sends a command of the DevTools Protocol and returns the response; skips events."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + RESPONSE_SECONDS
        while True:
            response = self._next(deadline, method)
            if response.get("id") != self._sent:
                continue
            if "error" in response:
                raise Failure(f"Chromium refuses {method}: {response['error']['message']}")
            return response["result"]

    def _next(self, deadline: float, method: str) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._responses], [], [], max(0.0, deadline - time.monotonic()))
            self.process.require_alive()
            if not ready:
                raise Failure(f"Chromium did not respond to {method} within {RESPONSE_SECONDS} s")
            self._buffer += os.read(self._responses, 65_536)
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def run(self, expression: str):
        """Evaluates a script in the page and returns its value."""
        response = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in response:
            raise Failure(f"the page's script failed: {response['exceptionDetails']}")
        return response["result"].get("value")

    def goto(self, url: str) -> None:
        error = self.command("Page.navigate", url=url).get("errorText")
        if error:
            raise Failure(f"Chromium cannot open {url}: {error}")

    def until(self, what: str, expression: str) -> None:
        """Waits until a script in the page returns a true value."""
        until(what, lambda: self.run(expression), 30, self.process, every=0.2)

    def page_metrics(self) -> dict[str, float]:
        """Returns Chromium's metrics of the page, such as the number of layouts since it was opened."""
        self.command("Performance.enable")
        return {metric["name"]: metric["value"] for metric in self.command("Performance.getMetrics")["metrics"]}

    def hide(self) -> None:
        """Opens another page in front of this one."""
        session, self._session = self._session, None
        self.command("Target.createTarget", url="about:blank")
        self._session = session
        self.until("the page is hidden", "document.hidden")
