"""A node that has gone its own way gets the primary's data again, so that the next round begins with three equal nodes.

The failover manager refuses to let such a node rejoin, and rightly: what it has alone may have been promised to
somebody. That has been accounted for by now.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from services.mariadb import mariadb
from topo.errors import FoobarError

if TYPE_CHECKING:
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

#: the error with which a primary turns away a replica that has what it does not have
DIVERGED = 1236
SECONDS = 120


def diverged(testbed: Testbed) -> list[str]:
    """The nodes that their primary has turned away."""
    return [server.name for server in testbed.plan.servers if _turned_away(testbed.inside(server.name))]


def rebuild(testbed: Testbed, name: str, primary: str) -> None:
    """Give a node the primary's tables and position; it follows nobody afterwards. For when nobody writes."""
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
    with suppress(Exception):  # whoever cannot be asked has not been turned away, as far as anybody knows
        return bool(mariadb.replication(inside).get("Last_IO_Errno") == DIVERGED)
    return False


def _copy(source: Inside, target: Inside) -> None:
    """The site's database, without a trace in the target's binary log."""
    dump = ["mariadb-dump", f"--socket={source.path(mariadb.SOCKET)}", "--single-transaction", "--databases", "foobar"]
    load = ["mariadb", f"--socket={target.path(mariadb.SOCKET)}", "--init-command=SET SESSION sql_log_bin = 0"]
    with subprocess.Popen(dump, stdout=subprocess.PIPE) as dumping:
        done = subprocess.run(load, stdin=dumping.stdout, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode or dumping.returncode:
        raise FoobarError(f"{target.name} cannot be given the data of {source.name}", detail=done.stderr)
