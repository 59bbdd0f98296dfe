"""All writers of an experiment: started, paused and listened to. One writes through the site, the others at the
endpoint.

Those at the endpoint run on the servers, which the policy lets through to it: one on each, so that whatever host is cut
off, others go on writing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from experiments.db_failover.writer import Order
from experiments.instruments.load import log_in
from experiments.instruments.worker import HostWorker
from services.gunicorn import SITE_CONFIG
from services.mariadb import mariadb
from topo import wait
from topo.plan import CLIENT, DATABASE

if TYPE_CHECKING:
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

THROUGH_THE_SITE = "site"
SITE_RATE, SITE_WORKERS, SITE_PATIENCE = 20.0, 4, 5.0
ENDPOINT_RATE, ENDPOINT_WORKERS, ENDPOINT_PATIENCE = 100.0, 3, 2.0
WRITER = "experiments.db_failover.writer"


class Write(NamedTuple):
    """One write, as a writer printed it."""

    number: int
    outcome: str
    sent: float
    answered: float
    server: int | None
    tries: int


class Process(HostWorker):
    """One writer at work on a host. ``heard``: what became known since it was last taken."""

    def __init__(self, name: str, inside: Inside, order: Order) -> None:
        self.heard: list[Write] = []
        super().__init__(f"writer {name}", inside, WRITER, asdict(order), self._take_in)

    def _take_in(self, line: str) -> None:
        self.heard.append(Write(*json.loads(line)))


class Writers:
    """All of them together, by name: ``site``, and the servers' names."""

    def __init__(self, processes: dict[str, Process], author: int, tag: str) -> None:
        self.processes = processes
        self.author = author
        self.tag = tag

    def pause(self) -> None:
        for process in self.processes.values():
            process.pause()
        for process in self.processes.values():
            process.wait_paused()

    def resume(self) -> None:
        for process in self.processes.values():
            process.resume()

    def take(self) -> dict[str, list[Write]]:
        """The outcome of every write since the last call; for when the writers rest."""
        taken = {}
        for name, process in self.processes.items():
            taken[name], process.heard = process.heard, []
        return taken

    def acknowledged(self, since: float, without: tuple[str, ...] = ()) -> list[Write]:
        """The endpoint's acknowledged writes that were answered after ``since``, from writers on other hosts."""
        for process in self.processes.values():
            process.check()
        endpoint = [writer for name, writer in self.processes.items() if name not in (THROUGH_THE_SITE, *without)]
        return [
            write
            for writer in endpoint
            for write in list(writer.heard)
            if write.answered > since and write.server is not None
        ]


@contextmanager
def writing(testbed: Testbed, tag: str) -> Iterator[Writers]:
    """All writers at work, until the block is left. ``tag`` tells this run's rows from all others."""
    processes: dict[str, Process] = {}
    try:
        client = testbed.inside(testbed.plan.host_of(CLIENT).name)
        session = asdict(log_in(client, 1)[0])
        order = Order("site", f"{tag} {THROUGH_THE_SITE}", SITE_RATE, SITE_WORKERS, SITE_PATIENCE, session)
        processes[THROUGH_THE_SITE] = Process(
            THROUGH_THE_SITE, testbed.inside(testbed.plan.host_of(CLIENT).name), order
        )
        author = _author(testbed, tag, processes[THROUGH_THE_SITE])
        for server in testbed.plan.hosts_of(DATABASE):
            # as its application writes: the same endpoint, account and encryption
            options = {"config": SITE_CONFIG, "author": author}
            order = Order(
                "endpoint", f"{tag} {server.name}", ENDPOINT_RATE, ENDPOINT_WORKERS, ENDPOINT_PATIENCE, options
            )
            processes[server.name] = Process(server.name, testbed.inside(server.name), order)
        yield Writers(processes, author, tag)
    finally:
        for process in processes.values():
            process.kill()


def _author(testbed: Testbed, tag: str, process: Process) -> int:
    """The id of the user whose name all writes bear: the author of the first message that came through the site."""
    statement = "SELECT user_id FROM foobar.messages WHERE body LIKE %s LIMIT 1"
    authors: list[int] = []

    def unknown() -> str | None:
        process.check()
        for server in testbed.plan.hosts_of(DATABASE):
            rows = mariadb.query(testbed.inside(server.name), statement, f"{tag} {THROUGH_THE_SITE} %")
            authors.extend(row["user_id"] for row in rows)
        return None if authors else "no message yet"

    wait.until(unknown, what="the first write through the site", seconds=20)
    return authors[0]
