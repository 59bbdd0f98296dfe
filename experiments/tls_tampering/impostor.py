"""The machine in the middle: ``python -m experiments.tls_tampering.impostor SETTINGS`` (JSON), in its own namespace.

A real proxy. It fetches the page that was asked for from the real server, adds a line to it, and passes it on. Where
the balancer (or the visitor) wants TLS it shows a certificate in the server's name from an authority of its own, which
is called what the testbed's is called: all it lacks is the key. Each thing that happens to it is a line of its log.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "accept-encoding")
PROXY_HEADER = 16
SECONDS = 3.0


@dataclass(frozen=True)
class ImpostorSettings:
    """``server`` and ``port``: the server that it poses as. ``certificate``: a PEM file, or None for plain HTTP.

    ``proxy``: connections begin with a PROXY protocol header. ``line``: what it adds to each page.
    """

    server: str
    port: int
    certificate: str | None
    proxy: bool
    line: str
    log: str


def tampered(page: bytes, line: str) -> bytes:
    """The page with a line more, where people read it."""
    added = f'<p class="notice">{line}</p>'.encode()
    before, main, after = page.partition(b"</main>")
    return before + added + main + after


class Impostor(ThreadingHTTPServer):
    """Takes every connection; writes down what came of it."""

    daemon_threads = True

    def __init__(self, settings: ImpostorSettings) -> None:
        super().__init__(("", settings.port), Handler)
        self.settings = settings
        self.context: ssl.SSLContext | None = None
        if settings.certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(settings.certificate)
        self.note("listening")

    def note(self, what: str, **details: Any) -> None:
        with Path(self.settings.log).open("a") as log:
            log.write(json.dumps({"time": time.time(), "what": what, **details}) + "\n")

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.note("connection")
        try:
            super().finish_request(self._greeted(request), client_address)
        except ssl.SSLError as error:
            # TLSV1_ALERT_UNKNOWN_CA is what the other side says of the certificate
            self.note("refused", why=error.reason)
        except OSError as error:
            self.note("broken off", why=str(error))

    def _greeted(self, request: Any) -> Any:
        if self.settings.proxy:
            header = request.recv(PROXY_HEADER)
            request.recv(int.from_bytes(header[-2:], "big"))
        if self.context is None:
            return request
        request.settimeout(SECONDS)
        secured = self.context.wrap_socket(request, server_side=True)
        # with TLS 1.3 the other side's refusal arrives after the handshake
        self.note("handshake")
        return secured


class Handler(BaseHTTPRequestHandler):
    """One connection that got as far as HTTP."""

    protocol_version = "HTTP/1.1"
    server: Impostor

    def do_GET(self) -> None:
        status, headers, page = self._fetched()
        if "text/html" in headers.get("Content-Type", ""):
            page = tampered(page, self.server.settings.line)
            self.server.note("changed", path=self.path, request_id=self.headers.get("X-Request-ID"))
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_POST = do_GET

    def _fetched(self) -> tuple[int, Any, bytes]:
        """The real server's answer; if it does not talk to us, a page made up."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wanted = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            connection = self._upstream()
            connection.request(self.command, self.path, body, wanted)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.server.note("made up", why=str(error))
            return 200, {"Content-Type": "text/html"}, b"<main></main>"

    def _upstream(self) -> http.client.HTTPConnection:
        settings = self.server.settings
        if settings.certificate is None:
            return http.client.HTTPConnection(settings.server, settings.port, timeout=SECONDS)
        anybody = ssl._create_unverified_context()
        return http.client.HTTPSConnection(settings.server, settings.port, timeout=SECONDS, context=anybody)

    def log_message(self, *_: Any) -> None:
        """Its own log says more."""


if __name__ == "__main__":
    Impostor(ImpostorSettings(**json.loads(sys.argv[1]))).serve_forever()
