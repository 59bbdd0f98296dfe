"""Observations of a visit: what the client saw, and what the hosts wrote down: log lines and SQL statements."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from services.mariadb import mariadb
from testbed import databases
from topo import jsonlines, wait
from topo.errors import FoobarError
from topo.folders import Folder
from topo.paths import PROJECT
from topo.plan import CLIENT, DATABASE, SITE

if TYPE_CHECKING:
    from testbed.testbed import Testbed

SECONDS = 60.0
# the logs that tell of requests, one JSON object a line: (service, path on the host)
REQUEST_LOGS = (
    ("haproxy", "/var/log/haproxy.log"),
    ("nginx", "/var/log/nginx/access.log"),
    ("app", "/var/log/app/access.log"),
)


def visits(testbed: Testbed, name: str, password: str, messages: Sequence[str], *, asks: str = "") -> dict[str, Any]:
    """The record of the visit (``visit.visit``). Raises FoobarError with its own words when it was not finished."""
    typed = (f"--asks={asks}", f"https://{SITE}/", name, password, *messages)
    command = (sys.executable, "-m", "experiments.instruments.visit", *typed)
    done = testbed.inside(testbed.plan.host_of(CLIENT).name).run(
        command, seconds=SECONDS, environment={"PYTHONPATH": str(PROJECT)}
    )
    if done.returncode:
        raise FoobarError("the client could not finish its visit", detail=done.stderr.strip())
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def wait_for_replicas(testbed: Testbed) -> dict[str, str]:
    """All that was written has reached every replica, so its packets are in the captures. Each database's position."""
    primary = databases.primary(testbed)
    goal = mariadb.position(testbed.inside(primary))
    positions = {primary: goal}
    for replica in databases.replicas(testbed):
        inside = testbed.inside(replica)

        def behind(inside: Any = inside) -> str | None:
            here = mariadb.position(inside)
            return None if here == goal else f"at {here}, primary at {goal}"

        wait.until(behind, what=f"{replica} caught up", seconds=10)
        positions[replica] = mariadb.position(inside)
    return positions


def request_logs(testbed: Testbed, folder: Folder) -> list[dict[str, Any]]:
    """Copy every request log into ``folder``; return its lines as {file, line, host, service, data}."""
    rows = []
    for unit in testbed.supervisor.units:
        for service, log in REQUEST_LOGS:
            content = unit.written(log) if unit.service.is_called(service) else b""
            if not content:
                continue
            copy = f"{unit.service.host}-{service}.log"
            folder.write(copy, content)
            rows += [
                {
                    "file": copy,
                    "line": number,
                    "host": unit.service.host,
                    "service": service,
                    "data": data,
                }
                for number, data in jsonlines.rows(content)
            ]
    return rows


@contextmanager
def statements(testbed: Testbed, folder: Folder) -> Iterator[list[dict[str, Any]]]:
    """Every database writes down the statements it is sent while the block runs (MariaDB's general log).

    The list is filled when the block ends: {file, line, host, time, sql}; each host's are also in a file of ``folder``.
    """
    hosts = [host.name for host in testbed.plan.hosts_of(DATABASE)]
    rows: list[dict[str, Any]] = []
    with ExitStack() as off:
        for host in hosts:
            mariadb.query(testbed.inside(host), "SET GLOBAL log_output = 'TABLE,FILE', general_log = ON")
            off.callback(mariadb.query, testbed.inside(host), "SET GLOBAL general_log = OFF, log_output = 'FILE'")
        yield rows
    for host in hosts:
        rows += _statements(testbed, host, folder)


def _statements(testbed: Testbed, host: str, folder: Folder) -> list[dict[str, Any]]:
    statements = mariadb.query(
        testbed.inside(host),
        "SELECT CAST(UNIX_TIMESTAMP(event_time) AS DOUBLE) AS time, CONVERT(argument USING utf8mb4) AS sql_text"
        " FROM mysql.general_log WHERE command_type IN ('Query', 'Execute') ORDER BY event_time",
    )
    file = f"{host}-sql.jsonl"
    rows = [
        {"file": file, "line": number, "host": host, "time": row["time"], "sql": row["sql_text"]}
        for number, row in enumerate(statements, start=1)
    ]
    folder.write(file, "".join(json.dumps({"time": row["time"], "sql": row["sql"]}) + "\n" for row in rows))
    return rows
