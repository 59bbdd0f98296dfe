"""The data of the database nodes: their rows of the writers, their GTIDs, and whether they follow the primary.

The failover manager refuses to let a node rejoin that has gone its own way, and rightly: what it has alone may have
been promised to a client. Once that has been accounted for, `rebuild` gives it the primary's data again, so that the
next round begins with equal nodes.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.db_failover.evidence import NodeRow, spans
from services.mariadb import mariadb
from topo import wait
from topo.errors import FoobarError
from topo.plan import DATABASE

if TYPE_CHECKING:
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

SELF = "SELECT @@server_id AS id, @@read_only AS read_only, @@gtid_binlog_pos AS position, @@gtid_binlog_state AS state"
ROWS = "SELECT id, body FROM foobar.messages WHERE user_id = %s AND id > %s"
CHECKSUM = (
    "SELECT COALESCE(BIT_XOR(CRC32(CONCAT_WS('|', id, user_id, body, server, created))), 0) AS checksum"
    " FROM foobar.messages WHERE user_id = %s AND id > %s"
)
RUNNING = ("Yes", "Yes")
#: the error with which a primary turns away a replica that has what it does not have
DIVERGED = 1236
REBUILD_SECONDS = 120


@dataclass
class Accounted:
    """Up to where everything has been accounted for: the highest row id, and each writer's highest number."""

    row: int = 0
    numbers: dict[str, int] = field(default_factory=dict)


def read(testbed: Testbed, tag: str, author: int, done: Accounted) -> dict[str, NodeRow]:
    """Every node's part in `accounting.account`, of what is not ``done``. ``last`` is its highest row id."""
    names = [server.name for server in testbed.plan.hosts_of(DATABASE)]
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(
            zip(names, pool.map(lambda name: _node(testbed.inside(name), tag, author, done), names), strict=True)
        )


def _node(inside: Inside, tag: str, author: int, done: Accounted) -> NodeRow:
    since = done.row
    unread: NodeRow = {
        "problem": None,
        "writable": False,
        "rows": {},
        "twice": {},
        "checksum": 0,
        "state": "",
        "position": "",
        "last": since,
    }
    try:
        me = mariadb.query(inside, SELF)[0]
        rows = mariadb.query(inside, ROWS, author, since)
        checksum = mariadb.query(inside, CHECKSUM, author, since)[0]["checksum"]
    except Exception as error:  # a node that cannot be asked is one about which nothing is known, whatever the reason
        return {**unread, "problem": f"{type(error).__name__}: {error}"}
    written = _bodies([row["body"] for row in rows], tag, done)
    return {
        "problem": None,
        "writable": not me["read_only"],
        "rows": {writer: spans(numbers) for writer, numbers in written.items()},
        "twice": {
            writer: spans(number for number, times in numbers.items() if times > 1)
            for writer, numbers in written.items()
        },
        "checksum": int(checksum),
        "state": me["state"],
        "position": me["position"],
        "last": max((row["id"] for row in rows), default=since),
    }


def _bodies(bodies: list[str], tag: str, done: Accounted) -> dict[str, Counter[int]]:
    """``tag writer number`` of every row -> by writer, how often each number that is not accounted for is there."""
    counted: dict[str, Counter[int]] = {}
    for body in bodies:
        own, writer, number = body.split(" ")
        if own == tag and int(number) > done.numbers.get(writer, 0):
            counted.setdefault(writer, Counter())[int(number)] += 1
    return counted


def following(testbed: Testbed) -> str | None:
    """None when one node takes writes and all others follow it."""
    return _galera(testbed) if testbed.profile.db == "galera" else _replicas(testbed)


def equal(testbed: Testbed) -> str | None:
    """None when all nodes are at the same position; asked while nothing is written."""
    statement = (
        "SHOW STATUS LIKE 'wsrep_last_committed'"
        if testbed.profile.db == "galera"
        else "SELECT @@gtid_binlog_pos AS Value"
    )
    try:
        at = {
            host.name: _one(testbed.inside(host.name), statement)["Value"] for host in testbed.plan.hosts_of(DATABASE)
        }
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if len(set(at.values())) == 1 else str(at)


def _replicas(testbed: Testbed) -> str | None:
    try:
        states = {host.name: _standing(testbed.inside(host.name)) for host in testbed.plan.hosts_of(DATABASE)}
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    open_ones = [name for name, (writable, _) in states.items() if writable]
    wrong = [f"{name} {running}" for name, (writable, running) in states.items() if not writable and running != RUNNING]
    return None if len(open_ones) == 1 and not wrong else f"open for writes: {open_ones}; not following: {wrong}"


def _standing(inside: Inside) -> tuple[bool, tuple[str, str]]:
    """(takes writes, (receives, applies))."""
    writable = not _one(inside, SELF)["read_only"]
    status: Mapping[str, Any] = {} if writable else mariadb.replication(inside)
    return writable, (status.get("Slave_IO_Running", "No"), status.get("Slave_SQL_Running", "No"))


def _galera(testbed: Testbed) -> str | None:
    """None when all are in the cluster, and have what it has."""
    for server in testbed.plan.hosts_of(DATABASE):
        service = testbed.supervisor.unit(f"{server.name}/{DATABASE}").service
        assert isinstance(service, mariadb.MariaDB)
        try:
            problem = service.joined(testbed.inside(server.name))
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            return f"{server.name}: {problem}"
    return None


def _one(inside: Inside, statement: str) -> dict[str, Any]:
    rows = mariadb.query(inside, statement)
    return rows[0] if rows else {"Value": None}


def diverged(testbed: Testbed) -> list[str]:
    """The nodes that their primary has turned away."""
    return [server.name for server in testbed.plan.hosts_of(DATABASE) if _turned_away(testbed.inside(server.name))]


def rebuild(testbed: Testbed, name: str, primary: str) -> None:
    """Give a node the primary's tables and position; it follows no node afterwards. For when nothing is written."""
    source, target = testbed.inside(primary), testbed.inside(name)
    mariadb.query(target, "STOP SLAVE")
    _copy(source, target)
    mariadb.query(target, "RESET MASTER")
    here = mariadb.query(source, "SELECT @@gtid_binlog_state AS state, @@gtid_current_pos AS position")[0]
    mariadb.query(target, "SET GLOBAL gtid_binlog_state = %s", here["state"])
    mariadb.query(target, "SET GLOBAL gtid_slave_pos = %s", here["position"])
    # nothing says any more that it was turned away: the manager takes it back
    mariadb.query(target, "RESET SLAVE ALL")


def _turned_away(inside: Inside) -> bool:
    with suppress(Exception):  # a node that cannot be asked is not known to have been refused
        return bool(mariadb.replication(inside).get("Last_IO_Errno") == DIVERGED)
    return False


def _copy(source: Inside, target: Inside) -> None:
    """The site's database, without a trace in the target's binary log."""
    dump = ["mariadb-dump", f"--socket={source.path(mariadb.SOCKET)}", "--single-transaction", "--databases", "foobar"]
    load = ["mariadb", f"--socket={target.path(mariadb.SOCKET)}", "--init-command=SET SESSION sql_log_bin = 0"]
    with subprocess.Popen(dump, stdout=subprocess.PIPE) as dumping:
        done = wait.for_command(load, seconds=REBUILD_SECONDS, stdin=dumping.stdout)
    if done.returncode or dumping.returncode:
        raise FoobarError(f"{target.name} cannot be given the data of {source.name}", detail=done.stderr)
