"""What the balancer's log says of a server beside the requests, with the moment at which it was read there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from experiments.tls_tampering.evidence import AlarmLine
from services.service import Look

LOG = "/var/log/haproxy.log"
EVERY_SECONDS = 0.02


@contextmanager
def alarms(balancer: Look, server: str) -> Iterator[list[AlarmLine]]:
    """Filled while the block runs: {"time", "line"} of each line about the server that is not a request's."""
    found: list[AlarmLine] = []
    done = threading.Event()
    reader = threading.Thread(target=_read, args=(balancer, server, found, done), daemon=True, name="alarms")
    reader.start()
    try:
        yield found
    finally:
        done.set()
        reader.join()


def _read(balancer: Look, server: str, found: list[AlarmLine], done: threading.Event) -> None:
    with balancer.path(LOG).open(errors="replace") as log:
        log.seek(0, 2)
        partial = ""
        while not done.wait(EVERY_SECONDS):
            *lines, partial = (partial + log.read()).split("\n")
            found += [{"time": time.time(), "line": line} for line in lines if is_alarm(line, server)]


def is_alarm(line: str, server: str) -> bool:
    """HAProxy's own words about a server; requests are JSON, and its standard error repeats them in brackets."""
    return f"/{server} " in line and not line.startswith(("{", "["))
