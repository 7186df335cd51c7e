"""An app without any login: it is told who is there. Run it behind nginx only, see README.md.

    python3 examples/auth-request/app.py
"""
import html
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PAGE = """<!doctype html><title>The Intranet</title>
<p>Hello, <b id=who>{who}</b>. You asked for <code id=path>{path}</code>.</p>
<form method=post action=/scangate/sign-out><button id=out>Sign out</button></form>"""


class App(BaseHTTPRequestHandler):
    def do_GET(self):
        # nginx alone sets these, and percent-encodes them: any text is one line of ASCII.
        subject = unquote(self.headers.get("X-Auth-Subject", ""))
        name = unquote(self.headers.get("X-Auth-Name", "")) or subject or "nobody"
        if self.path == "/headers":
            kind, text = "application/json", json.dumps(dict(self.headers))
        else:
            kind, text = "text/html; charset=utf-8", PAGE.format(who=html.escape(name), path=html.escape(self.path))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        # What one person was shown is not for the next.
        self.send_header("Cache-Control", "private, no-cache")
        self.end_headers()
        self.wfile.write(text.encode())


# On this machine alone: who could reach it past nginx could say to be anybody.
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "5001"))), App)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
