"""The cost of a waiting page in the user's browser, in every state that can last."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .. import measure
from ..chromium import Chromium
from ..processes import free_port, until
from ..progress import Progress
from ..setup import Setup
from ..settings import Settings, Sizes

SETTLE = 5
CLIENTS = """
[[clients]]
id = "web"
flows = ["login", "share"]
claims = ["name"]
origins = ["{origin}"]

[[clients]]
id = "choose"
flows = ["login", "share"]
match = "choose"
"""
DROP_IN = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Shop</title><div id="here"></div>
<script src="{gateway}/static/scangate.js"></script>
<script>scangate.start(document.getElementById('here'), { clientId: 'web' });</script>"""


class Visit:
    """A browser on the gateway's pages, and the approver's requests."""

    def __init__(self, setup: Setup, browser: Chromium, gateway, site: str):
        self.setup, self.browser, self.gateway, self.site = setup, browser, gateway, site
        self.url = f"http://localhost:{gateway.port}"
        self.token = json.loads(self.demo_sign_in("Ada").read())["access_token"]

    def open(self, path: str, state: str) -> None:
        self.browser.goto(path if path.startswith("http") else self.url + path)
        self.reach(state)

    def reach(self, state: str) -> None:
        condition = f"document.querySelector('body[data-state={state}], .scangate[data-state={state}]') !== null"
        self.browser.until(f"the page is {state}", condition)

    def shown(self) -> str:
        """Returns the id of the ticket whose code the page shows."""
        return self.browser.run("document.querySelector('.scangate-link').href").rpartition("/")[2]

    def ask(self, method: str, path: str, body: dict | None = None, *, as_person: bool = True) -> dict:
        headers = {"Content-Type": "application/json"}
        if as_person:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, json.dumps(body or {}).encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def act(self, ticket: str, action: str, **body) -> dict:
        return self.ask("POST", f"/v1/tickets/{ticket}/{action}", body)

    def set_offline(self, offline: bool) -> None:
        self.browser.command("Network.enable")
        self.browser.command(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def demo_sign_in(self, name: str):
        """Signs a made-up person in. The response has a token for programs, and a cookie for browsers."""
        body = json.dumps({"name": name}).encode()
        request = urllib.request.Request(self.url + "/demo/sign-in", body, {"Content-Type": "application/json"})
        return urllib.request.urlopen(request, timeout=10)

    def sign_in(self, name: str = "Ada") -> None:
        """Gives the browser the session of a made-up person, which it would have after a sign-in on its pages."""
        cookie, _, value = self.demo_sign_in(name).headers["Set-Cookie"].partition(";")[0].partition("=")
        self.browser.command("Network.setCookie", name=cookie, value=value, url=self.url, httpOnly=True, sameSite="Lax")


def empty(visit: Visit) -> None:
    visit.browser.goto("about:blank")


def waiting(visit: Visit) -> None:
    visit.open("/", "waiting")


def scanned(visit: Visit) -> None:
    visit.open("/", "waiting")
    visit.act(visit.shown(), "scan")
    visit.reach("scanned")


def number(visit: Visit) -> None:
    visit.open("/?client_id=choose", "waiting")
    visit.act(visit.shown(), "scan")
    visit.reach("scanned")


def declined(visit: Visit) -> None:
    scanned(visit)
    visit.act(visit.shown(), "cancel")
    visit.reach("declined")


def confirmed(visit: Visit) -> None:
    scanned(visit)
    visit.act(visit.shown(), "confirm")
    visit.reach("confirmed")


def expired(visit: Visit) -> None:
    visit.open("/", "waiting")

    def is_expired() -> bool:
        visit.setup.redis.info.ask(f"PEXPIRE scangate:{{{visit.shown()}}} 1")
        return visit.browser.run("document.body.getAttribute('data-state')") == "expired"

    until("the last code has expired", is_expired, 60, every=0.3)


def error(visit: Visit) -> None:
    visit.open("/?client_id=nobody", "error")


def offline(visit: Visit) -> None:
    visit.open("/", "waiting")
    visit.set_offline(True)
    visit.reach("offline")


def hidden(visit: Visit) -> None:
    visit.open("/", "waiting")
    visit.browser.hide()


def confirm_ready(visit: Visit) -> None:
    visit.sign_in()
    ticket = visit.ask("POST", "/v1/tickets", as_person=False)["ticket_id"]
    visit.open(f"/s/{ticket}", "ready")


def confirm(visit: Visit, client: str = "web") -> None:
    visit.sign_in()
    ticket = visit.ask("POST", "/v1/tickets", {"client_id": client}, as_person=False)["ticket_id"]
    visit.open(f"/s/{ticket}", "ready")
    visit.browser.run("document.getElementById('continue').click()")
    visit.reach("scanned")


def confirm_number(visit: Visit) -> None:
    confirm(visit, "choose")


def share_waiting(visit: Visit) -> None:
    visit.sign_in()
    visit.open("/share", "waiting")


def share_scanned(visit: Visit) -> None:
    share_waiting(visit)
    visit.ask("POST", f"/v1/tickets/{visit.shown()}/scan", as_person=False)
    visit.reach("scanned")


def receive_waiting(visit: Visit) -> None:
    visit.sign_in("Bob")
    ticket = visit.ask("POST", "/v1/tickets", {"flow": "share"})["ticket_id"]
    visit.open(f"/share/{ticket}", "ready")
    visit.browser.run("document.getElementById('continue').click()")
    visit.reach("waiting")


def drop_in_waiting(visit: Visit) -> None:
    visit.open(visit.site, "waiting")


def drop_in_scanned(visit: Visit) -> None:
    drop_in_waiting(visit)
    visit.act(visit.shown(), "scan")
    visit.reach("scanned")


EMPTY = "an empty page"
# Each state, and the function that brings the browser to it.
STATES: dict[str, Callable[[Visit], None]] = {
    EMPTY: empty,
    "sign-in: waiting": waiting,
    "sign-in: scanned": scanned,
    "sign-in: number": number,
    "sign-in: confirmed": confirmed,
    "sign-in: declined": declined,
    "sign-in: expired": expired,
    "sign-in: error": error,
    "sign-in: offline": offline,
    "sign-in: hidden": hidden,
    "confirm: ready": confirm_ready,
    "confirm: scanned": confirm,
    "confirm: number": confirm_number,
    "share: waiting": share_waiting,
    "share: scanned": share_scanned,
    "receive: waiting": receive_waiting,
    "drop-in: waiting": drop_in_waiting,
    "drop-in: scanned": drop_in_scanned,
}


def seconds(sizes: Sizes) -> float:
    return len(STATES) * (sizes.page_window + SETTLE + 3) + 10


def run(settings: Settings, progress: Progress) -> dict:
    """Measures the CPU of the whole browser in each state, above that of an empty page."""
    window = settings.sizes.page_window
    with Setup(settings, progress) as setup:
        port, site = free_port(), free_port()
        config = setup.sandbox.directory("clients") / "clients.toml"
        config.write_text(CLIENTS.format(origin=f"http://localhost:{site}"))
        gateway = setup.gateway("--config", config, "--ticket-ttl", "10m", demo=True)
        serve(site, DROP_IN.replace(b"{gateway}", f"http://localhost:{gateway.port}".encode()))
        rows = []
        for name, reach in STATES.items():
            # Each state gets a new browser, so that nothing remains of the previous one.
            browser = Chromium(setup.sandbox)
            reach(Visit(setup, browser, gateway, f"http://localhost:{site}/"))
            progress.wait(SETTLE, f"settling, {name}")
            before, cpu = browser.page_metrics(), measure.cpu_seconds(browser.process.pid)
            progress.wait(window, f"measuring the CPU, {name}")
            cpu = measure.cpu_seconds(browser.process.pid) - cpu
            after = browser.page_metrics()
            setup.sandbox.stop(browser.process)
            percent = 100 * cpu / window
            rows.append({
                "state": name,
                "cpu_percent": percent,
                "above_empty_percent": percent - rows[0]["cpu_percent"] if rows else 0.0,
                "layouts_per_second": (after["LayoutCount"] - before["LayoutCount"]) / window,
                "styles_per_second": (after["RecalcStyleCount"] - before["RecalcStyleCount"]) / window,
            })  # fmt: skip
        return {"window_seconds": window, "rows": rows}


def serve(port: int, page: bytes) -> None:
    """Serves a site of another origin, whose only page has the drop-in script."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_) -> None:
            """Logs no requests."""

    threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Site).serve_forever, daemon=True).start()
