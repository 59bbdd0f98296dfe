"""An exporter that lies: ``python -m experiments.monitoring.liar PORT TRUE_PORT``, in the place of the true one.

It answers what the true one does, with one request in fifty that never was. Run on a host by spoiling.py.
"""

from __future__ import annotations

import http.server
import re
import sys
import urllib.error
import urllib.request

COUNTED = re.compile(r"^(web_requests_total\{.*\}) (\S+)$", re.MULTILINE)
TOO_MANY = 1.02


class Liar(http.server.BaseHTTPRequestHandler):
    """Asks the true exporter, and makes its counters of requests larger."""

    true_port = 0

    def do_GET(self) -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.true_port}{self.path}", timeout=1) as answer:
                status, text = answer.status, answer.read().decode()
        except (OSError, urllib.error.URLError):
            status, text = 503, ""
        body = COUNTED.sub(lambda found: f"{found[1]} {float(found[2]) * TOO_MANY}", text).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: one comes every second."""


def main(port: str, true_port: str) -> None:
    """Serve until killed."""
    Liar.true_port = int(true_port)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Liar).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
