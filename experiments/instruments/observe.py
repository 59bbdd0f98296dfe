"""Log lines and SQL statements that the hosts themselves wrote down while something was measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.mariadb import mariadb
from topo import jsonlines
from topo.plan import DATABASE

if TYPE_CHECKING:
    from testbed.testbed import Testbed

# the logs that tell of requests, one JSON object a line: (service, path on the host)
REQUEST_LOGS = (
    ("haproxy", "/var/log/haproxy.log"),
    ("nginx", "/var/log/nginx/access.log"),
    ("app", "/var/log/app/access.log"),
)


def request_logs(testbed: Testbed, folder: Path) -> list[dict[str, Any]]:
    """Copy every request log into ``folder``; return its lines as {file, line, host, service, data}."""
    rows = []
    for unit in testbed.supervisor.units:
        for service, log in REQUEST_LOGS:
            source = unit.place.path(log) if unit.service.is_called(service) else None
            if source is None or not source.exists():
                continue
            copy = folder / f"{unit.service.host}-{service}.log"
            shutil.copyfile(source, copy)
            rows += [
                {
                    "file": copy.name,
                    "line": number,
                    "host": unit.service.host,
                    "service": service,
                    "data": data,
                }
                for number, data in jsonlines.rows(copy.read_bytes())
            ]
    return rows


@contextmanager
def statements(testbed: Testbed, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Every database writes down the statements it is sent while the block runs (MariaDB's general log).

    The list is filled when the block ends: {file, line, host, time, sql}; each host's are also in a file of ``folder``.
    """
    hosts = [host.name for host in testbed.plan.hosts_of(DATABASE)]
    rows: list[dict[str, Any]] = []
    with ExitStack() as off:
        for host in hosts:
            mariadb.query(testbed.inside(host), "SET GLOBAL log_output = 'TABLE', general_log = ON")
            off.callback(mariadb.query, testbed.inside(host), "SET GLOBAL general_log = OFF")
        yield rows
    for host in hosts:
        rows += _statements(testbed, host, folder / f"{host}-sql.jsonl")


def _statements(testbed: Testbed, host: str, file: Path) -> list[dict[str, Any]]:
    statements = mariadb.query(
        testbed.inside(host),
        "SELECT CAST(UNIX_TIMESTAMP(event_time) AS DOUBLE) AS time, CONVERT(argument USING utf8mb4) AS sql_text"
        " FROM mysql.general_log WHERE command_type IN ('Query', 'Execute') ORDER BY event_time",
    )
    rows = [
        {"file": file.name, "line": number, "host": host, "time": row["time"], "sql": row["sql_text"]}
        for number, row in enumerate(statements, start=1)
    ]
    file.write_text("".join(json.dumps({"time": row["time"], "sql": row["sql"]}) + "\n" for row in rows))
    return rows
