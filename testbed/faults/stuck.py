"""``stuck HOST``: a database that answers, and ends no write: somebody holds a lock and has gone to lunch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pymysql

from services.mariadb import mariadb
from testbed import power
from testbed.faults import selection
from testbed.faults.kind import ERROR, Fault, Injection, Kind
from topo.plan import DATABASE

#: how long it may take until the writes under way have ended, and the lock is had
LOCK_SECONDS = 5


@contextmanager
def _stuck(injection: Injection, fault: Fault) -> Iterator[None]:
    """Reads are answered, and connections accepted. The lock ends with its session, whoever ends that."""
    power.refuse_if_ended(injection.testbed, f"{fault.target}/{DATABASE}")
    place = str(injection.testbed.inside(fault.target).path(mariadb.SOCKET))
    session = pymysql.connect(unix_socket=place, user="root", autocommit=True)
    try:
        with session.cursor() as cursor:
            cursor.execute(f"SET lock_wait_timeout = {LOCK_SECONDS}")
            cursor.execute("FLUSH TABLES WITH READ LOCK")
        injection.seen = "a session held the global read lock"
        yield
    finally:
        with suppress(pymysql.Error):
            session.close()


STUCK = Kind(
    "stuck",
    "HOST",
    "its database answers, and no write ends: a session holds the global read lock",
    ERROR,
    20.0,
    selection.databases,
    _stuck,
)
