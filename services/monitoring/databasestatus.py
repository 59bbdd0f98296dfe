"""The database of a host, asked by two statements over its socket, with an account that may read and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pymysql
import pymysql.cursors

from services.failover.observation import sequence
from services.failover.watcher import DIVERGED, own_channel, written
from services.monitoring.metric import COUNTER, Metric, value

#: one that hangs is down, and soon enough for the client to hear so
ANSWER_S = 0.15
#: what a server says of itself -> the metric
COUNTED = {
    "QUESTIONS": ("db_queries_total", COUNTER),
    "THREADS_CONNECTED": ("db_connections", "gauge"),
}
SEMISYNC = {
    "RPL_SEMI_SYNC_MASTER_CLIENTS": "db_semisync_replicas",
    "RPL_SEMI_SYNC_MASTER_WAIT_SESSIONS": "db_semisync_waiting",
}
STATES = (*COUNTED, *SEMISYNC, "RPL_SEMI_SYNC_MASTER_STATUS", "WSREP_READY", "WSREP_LAST_COMMITTED")
STATUS = (
    "SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM information_schema.GLOBAL_STATUS"
    f" WHERE VARIABLE_NAME IN ({', '.join(repr(state) for state in STATES)})"
    " UNION ALL SELECT 'READ_ONLY', @@GLOBAL.read_only UNION ALL SELECT 'CLUSTER', @@GLOBAL.wsrep_on"
    " UNION ALL SELECT 'LOCK_WAIT', MAX(TIME_MS) FROM information_schema.PROCESSLIST"
    " WHERE STATE LIKE 'Waiting for % lock'"
    " UNION ALL SELECT 'APPLIED', @@GLOBAL.gtid_current_pos UNION ALL SELECT 'LOGGED', @@GLOBAL.gtid_binlog_pos"
)
CHANNELS = "SHOW ALL SLAVES STATUS"
#: one of a cluster that has no majority answers nothing else, and waits for the others before it does
FREELY = "SET SESSION wsrep_sync_wait = 0, SESSION wsrep_dirty_reads = ON"


class DatabaseStatus:
    """Its connection is kept; it is cut and made anew when an answer takes too long."""

    def __init__(self, unix_socket: str, password: str) -> None:
        self._login = {"unix_socket": unix_socket, "user": "monitoring", "password": password, "ssl_disabled": True}
        self._connection: pymysql.Connection[Any] | None = None

    def metrics(self) -> Iterator[Metric]:
        """Raises pymysql.Error or OSError when it does not answer."""
        rows, channels = self._ask(STATUS, CHANNELS)
        states = {row["name"]: _plain(row["value"]) for row in rows}
        return iter([*server(states), *replica(own_channel(channels))])

    def _ask(self, *statements: str) -> list[list[dict[str, Any]]]:
        kept, self._connection = self._connection, None
        connection = kept or self._connected()
        try:
            with connection.cursor() as cursor:
                answers = []
                for statement in statements:
                    cursor.execute(statement)
                    answers.append(list(cursor.fetchall()))
        except BaseException:
            with suppress(pymysql.Error):  # closed already
                connection.close()
            raise
        self._connection = connection
        return answers

    def _connected(self) -> pymysql.Connection[Any]:
        return pymysql.connect(
            **self._login,
            autocommit=True,
            init_command=FREELY,
            connect_timeout=ANSWER_S,
            read_timeout=ANSWER_S,
            write_timeout=ANSWER_S,
            cursorclass=pymysql.cursors.DictCursor,
        )


def server(states: Mapping[str, str]) -> Iterator[Metric]:
    """By what a server says of itself."""
    for state, (name, kind) in COUNTED.items():
        yield value(name, float(states[state]), kind)
    clustered = states["CLUSTER"] == "1"
    position = written({"current": states["APPLIED"], "logged": states["LOGGED"]})
    writable = states["WSREP_READY"] == "ON" if clustered else states["READ_ONLY"] == "0"
    yield value("db_writable", int(writable))
    yield value("db_lock_wait_seconds", float(states["LOCK_WAIT"] or 0) / 1000)
    yield value("db_gtid_sequence", float(states["WSREP_LAST_COMMITTED"]) if clustered else sequence(position))
    yield value("db_semisync_on", int(states.get("RPL_SEMI_SYNC_MASTER_STATUS") == "ON"))
    for state, name in SEMISYNC.items():
        if state in states:
            yield value(name, float(states[state]))


def replica(channel: Mapping[str, Any]) -> Iterator[Metric]:
    """By the state of its replication; nothing of a server that follows none."""
    if channel:
        yield value("db_replication_receiving", int(channel["Slave_IO_Running"] == "Yes"))
        yield value("db_replication_applying", int(channel["Slave_SQL_Running"] == "Yes"))
        yield value("db_gtid_diverged", int(channel["Last_IO_Errno"] == DIVERGED))
        if channel["Seconds_Behind_Master"] is not None:
            yield value("db_replication_lag_seconds", float(channel["Seconds_Behind_Master"]))


def _plain(text: Any) -> str:
    return text.decode() if isinstance(text, bytes) else "" if text is None else str(text)
