"""A worker on a host that sends requests as they are, bytes by bytes, each over TLS, and tells what came back.

Each may come from an address of its own: on the balancer's host, from one of the loopback network's.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.instruments.worker import HostWorker, Say, serve
from topo import wait
from topo.plan import SITE

if TYPE_CHECKING:
    from experiments.engine.run import Progress
    from testbed.namespaces import Inside

TRUST = "/etc/ssl/certs/ca-certificates.crt"
PORT = 443
#: s: for an answer; without a byte after some of it
PATIENCE_S, QUIET_S = 6.0, 1.5
MOST_BYTES = 400_000
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class RawAnswer:
    """``text``: head and body, of more than one answer all, as Latin-1. ``seconds``: until all had come."""

    text: str
    seconds: float

    @property
    def status(self) -> int | None:
        words = self.text[:40].split()
        return int(words[1]) if len(words) > 1 and words[0].startswith("HTTP/") and words[1].isdigit() else None

    def header(self, name: str) -> str | None:
        """The first header of that name, of the first answer."""
        head = self.text.partition("\r\n\r\n")[0]
        for line in head.split("\r\n")[1:]:
            if line.lower().startswith(f"{name.lower()}:"):
                return line.partition(":")[2].strip()
        return None


def sent(inside: Inside, raws: Sequence[bytes], progress: Progress, *, apart: bool = False) -> list[RawAnswer]:
    """Send each from a host, in order, few at a time. ``apart``: from addresses of the host's loopback network.

    Raises FoobarError, with the program's words, when it has died.
    """
    found: dict[int, RawAnswer] = {}

    def hear(line: str) -> None:
        row = json.loads(line)
        found[row["number"]] = RawAnswer(row["text"], row["seconds"])
        progress.advance(1)

    requests = [base64.b64encode(raw).decode() for raw in raws]
    settings = {"requests": requests, "address": LOOPBACK if apart else SITE, "apart": apart}
    with HostWorker("sender", inside, "experiments.waf.sender", settings, hear) as worker:

        def look() -> str | None:
            worker.check()
            return None if len(found) == len(raws) else f"{len(found)} of {len(raws)}"

        wait.until(look, what="answers to all requests", seconds=60 + len(raws) * PATIENCE_S / 4)
    return [found[number] for number in range(len(raws))]


# --- on the host ---------------------------------------------------------------------------------------------------


class SendingJob:
    """All requests of the settings, by four threads."""

    def __init__(self, raw: Mapping[str, Any], say: Say) -> None:
        self._raw, self._say = raw, say
        self._trust = ssl.create_default_context(cafile=TRUST)
        self._pool = ThreadPoolExecutor(max_workers=4)
        self._going = threading.Event()
        self._going.set()

    def start(self) -> None:
        for number, encoded in enumerate(self._raw["requests"]):
            self._pool.submit(self._one, number, base64.b64decode(encoded))

    def pause(self) -> None:
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    def end(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _one(self, number: int, raw: bytes) -> None:
        self._going.wait()
        began, parts = time.monotonic(), bytearray()
        source = (f"127.{1 + number // 62500 % 200}.{number // 250 % 250}.{1 + number % 250}", 0)
        with suppress(OSError), self._connected(source if self._raw["apart"] else None) as connection:
            connection.sendall(raw)
            for part in received(connection, began + PATIENCE_S):
                parts += part
        text = bytes(parts[:MOST_BYTES]).decode("latin-1")
        self._say({"number": number, "text": text, "seconds": round(time.monotonic() - began, 4)})

    def _connected(self, source: tuple[str, int] | None) -> ssl.SSLSocket:
        plain = socket.create_connection((self._raw["address"], PORT), PATIENCE_S, source)
        return self._trust.wrap_socket(plain, server_hostname=SITE)


def received(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    """Until the other side ends it, says nothing more for a while, or the time is over."""
    connection.settimeout(max(0.1, deadline - time.monotonic()))
    while part := connection.recv(65536):
        yield part
        left = deadline - time.monotonic()
        if left <= 0:
            return
        connection.settimeout(min(left, QUIET_S))


if __name__ == "__main__":
    sys.exit(serve(SendingJob))
