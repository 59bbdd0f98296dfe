"""The exporter's server: asked at ``/SOURCE``, it answers for it. One that fails takes no other with it."""

from __future__ import annotations

import socketserver
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress

from services.monitoring import metric
from services.monitoring.metric import Source

TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: who has asked nothing for so long is gone
IDLE_S = 60.0
LINE_BYTES = 8192


class ExporterServer(socketserver.ThreadingTCPServer):
    """A thread for each connection, which a client keeps. A source is asked once at a time: those that hang do not
    pile up."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], sources: Mapping[str, Source]) -> None:
        super().__init__(address, Scrape)
        self.sources = sources
        self._turns = {name: threading.Lock() for name in sources}

    def answer(self, path: str) -> tuple[int, str]:
        """HTTP's status, and the text."""
        name = path.removeprefix("/")
        if name not in self.sources:
            return 404, ""
        turn = self._turns[name]
        if not turn.acquire(blocking=False):
            return 503, "it is still looking\n"
        try:
            return 200, metric.text(self.sources[name].metrics())
        except Exception as error:  # whatever it is, this source is down now, and only this one
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.name}, line {last.lineno}"
            print(f"{name}: {type(error).__name__}: {error} ({where})", file=sys.stderr, flush=True)
            return 500, f"{type(error).__name__}: {error}\n"
        finally:
            turn.release()


class Scrape(socketserver.StreamRequestHandler):
    """As much of HTTP/1.1 as a monitoring client on the same host speaks."""

    server: ExporterServer
    timeout = IDLE_S
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(OSError):
            while asked := self._asked():
                status, text = self.server.answer(asked)
                body = text.encode()
                head = f"HTTP/1.1 {status} .\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)

    def _asked(self) -> str:
        """The path of the next request; empty when there is none."""
        words = self.rfile.readline(LINE_BYTES).split()
        while self.rfile.readline(LINE_BYTES).strip():
            pass
        return words[1].decode("latin-1") if len(words) == 3 and words[0] == b"GET" else ""
