"""HAProxy's state of the servers, asked all the while over its administration socket."""

from __future__ import annotations

import csv
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.haproxy import SOCKET
from topo import jsonlines, wait
from topo.errors import DeadlineError, FoobarError
from topo.folders import Folder
from topo.plan import BALANCER

if TYPE_CHECKING:
    from testbed.testbed import Testbed

TROUBLES = "balancer-troubles.jsonl"
BACKEND, POLL_SECONDS, ANSWER_SECONDS = "servers", 0.02, 5.0
# of the backend and of its servers
QUESTION = f"show stat {BACKEND} 6 -1\n".encode()
#: requests in progress when what a fault left behind has been worked off
FEW, BACK_SECONDS = 12, 30.0


class UnwatchedError(FoobarError):
    """The balancer is not looked at any more: what it does about a fault cannot be seen."""


@dataclass
class Watch:
    """``up``: each server that is checked, and whether requests go to it. ``waiting``: requests in progress.

    ``changes``: {"time", "server", "up"} of every change; ``looks``: how often was looked, ``gap_s``: the longest time
    between two looks: what happened in between was seen that much later at worst. ``problem``: why nothing is looked at
    any more; a fault during which nothing was looked at proves nothing.
    """

    up: dict[str, bool] = field(default_factory=dict)
    waiting: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    gap_s: float = 0.0
    problem: str | None = None

    def note(self, text: str, now: float) -> None:
        """Take in one answer."""
        for row in csv.DictReader(text.removeprefix("# ").splitlines()):
            if row["svname"] == "BACKEND":
                self.waiting = int(row["scur"]) + int(row["qcur"])
            elif row["status"] != "no check":
                self._note_server(row["svname"], now, up=row["status"].startswith("UP"))
        self.looks += 1

    def _note_server(self, server: str, now: float, *, up: bool) -> None:
        if self.up.get(server, True) != up:
            self.changes.append({"time": round(now, 4), "server": server, "up": up})
        self.up[server] = up

    def wait_until_given_up(self, server: str, seconds: float) -> None:
        """Until no more requests go there, but no longer than that: some balancers never notice.

        Raises UnwatchedError.
        """

        def look() -> str | None:
            self.check()
            return "up" if self.up[server] else None

        with suppress(DeadlineError):
            wait.until(look, what=f"{server} is given up", seconds=seconds)

    def wait_for(self, server: str) -> None:
        """Until requests go there again and what has piled up is worked off. Raises DeadlineError, UnwatchedError."""
        wait.until(lambda: self._unsettled(server), what=f"{server} is asked again", seconds=BACK_SECONDS)

    def check(self) -> None:
        """Raise UnwatchedError when nothing is looked at any more."""
        if self.problem:
            raise UnwatchedError(self.problem)

    def _unsettled(self, server: str) -> str | None:
        self.check()
        if not self.up[server]:
            return "not up"
        return None if self.waiting <= FEW else f"{self.waiting} requests wait"


@contextmanager
def watched(testbed: Testbed) -> Iterator[Watch]:
    """Look fifty times a second while the block runs."""
    watch, over = Watch(), threading.Event()
    path = testbed.inside(testbed.plan.host_of(BALANCER).name).path(SOCKET)
    watch.note(_ask(path), time.time())
    watcher = threading.Thread(target=_look, args=(watch, path, over), daemon=True, name="balancer")
    watcher.start()
    try:
        yield watch
    finally:
        over.set()
        watcher.join(ANSWER_SECONDS)


@contextmanager
def without(testbed: Testbed, server: str) -> Iterator[None]:
    """In this block the balancer asks others than this server, as told by hand: no check has to find out."""
    path = testbed.inside(testbed.plan.host_of(BALANCER).name).path(SOCKET)
    try:
        _ask(path, f"set server {BACKEND}/{server} state maint\n".encode())
        yield
    finally:
        # and told that it is well: else the first check that fails would do to give it up
        back = f"set server {BACKEND}/{server}"
        _ask(path, f"{back} state ready; {back} health up\n".encode())


def keep_bad_endings(testbed: Testbed, folder: Folder) -> None:
    """The balancer's log lines of requests that it could not answer well or to the end: what explains a failed one."""
    unit = testbed.supervisor.unit(f"{testbed.plan.host_of(BALANCER).name}/{BALANCER}")
    lines = unit.written(unit.service.output).splitlines(keepends=True)
    folder.write(TROUBLES, b"".join(line for line in lines if ended_badly(line)))


def ended_badly(line: bytes) -> bool:
    """Is a line of the balancer's log about a request that it could not answer well or to the end?"""
    row = jsonlines.row_of(line)
    if row is None or row.get("backend") != BACKEND:
        return False
    status = str(row.get("status"))
    return (status.isdecimal() and int(status) >= 500) or str(row.get("ending"))[:2] not in ("--", "K-")


def _look(watch: Watch, path: Path, over: threading.Event) -> None:
    last = time.monotonic()
    try:
        while not over.wait(POLL_SECONDS):
            watch.note(_ask(path), time.time())
            watch.gap_s, last = max(watch.gap_s, time.monotonic() - last), time.monotonic()
    except Exception as error:  # whatever it is: an end in silence would look like a balancer that never notices
        watch.problem = f"the balancer could not be watched any more: {type(error).__name__}: {error}"


def _ask(path: Path, question: bytes = QUESTION) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        connection.sendall(question)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")
