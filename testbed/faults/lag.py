"""``lag PRIMARY``: the replicas have received what they have not applied when the primary dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pymysql

from services.mariadb import mariadb
from testbed.faults import selection
from testbed.faults.failover import REACTION_SECONDS, kill_database, others, sequence
from testbed.faults.kind import COMPOUND, Fault, Injection, Kind
from topo import wait
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

BACKLOG = 30  # transactions


@contextmanager
def _lagging(injection: Injection, fault: Fault) -> Iterator[None]:
    """Keep what was received: it may have been acknowledged."""
    testbed, replicas = injection.testbed, others(injection.testbed, fault.target)
    with ExitStack() as stack:
        for name in replicas:
            stack.enter_context(_held_up(testbed, name))
        with suppress(DeadlineError):
            wait.until(lambda: _too_little(testbed, replicas), what="a backlog", seconds=REACTION_SECONDS)
        waiting = min(_backlog(testbed, name) for name in replicas)
        injection.begin()
        with kill_database(injection, fault.target):
            stack.close()
            if waiting > 0:
                injection.seen = f"{waiting} transactions were received and not applied"
            yield


@contextmanager
def _held_up(testbed: Testbed, name: str) -> Iterator[None]:
    """A replica's applier waits for a lock that another connection holds."""
    place = str(testbed.inside(name).path(mariadb.SOCKET))
    connection = pymysql.connect(unix_socket=place, user="root", autocommit=True, ssl_disabled=True)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("LOCK TABLES foobar.messages READ")
        yield


def _backlog(testbed: Testbed, name: str) -> int:
    """Transactions that a replica has received and not applied."""
    inside = testbed.inside(name)
    return sequence(mariadb.replication(inside)["Gtid_IO_Pos"]) - sequence(mariadb.position(inside))


def _too_little(testbed: Testbed, replicas: tuple[str, ...]) -> str | None:
    waiting = {name: _backlog(testbed, name) for name in replicas}
    return None if min(waiting.values()) >= BACKLOG else str(waiting)


LAG = Kind(
    "lag",
    "PRIMARY",
    "the replicas have not applied all they have received",
    COMPOUND,
    75.0,
    selection.managed,
    _lagging,
)
