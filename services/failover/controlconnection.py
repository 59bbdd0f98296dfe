"""The control connection: the failover manager's commands to one database server, over one kept connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import pymysql

from services.failover.observation import sequence
from services.failover.watcher import CHANNELS, POSITIONS, own_channel, written
from services.mariadb.connection import DatabaseConnection
from services.mariadb.guarantees import Violation, corrections
from topo.errors import RefusedError

ANSWER_S = 3.0
#: a wait within the server is shorter than the time it has for an answer
WAIT_S = 2.0
#: a second replication channel, which never connects: see ``ControlConnection.stop_receiving``
HELPER = "helper"
#: what is added to a server's number while it connects anew
ANOTHER = 100
CONNECT_S = 0.5
SESSIONS = (
    "SELECT ID, STATE FROM information_schema.PROCESSLIST"
    " WHERE USER NOT IN ('failover', 'replication', 'system user') AND COMMAND <> 'Daemon'"
)
#: what a session does whose transaction is on its way into the log, or is there and not acknowledged
COMMITTING = ("Commit", "Waiting for semi-sync ACK from slave")


class ControlConnection:
    """``login`` is pymysql's keywords for this server, ``promised`` the settings that it must have (guarantees.py).

    Every method may raise pymysql.Error or OSError.
    """

    def __init__(self, login: Mapping[str, Any], lossless: bool, promised: Mapping[str, str]) -> None:
        self._login = login
        self._lossless = lossless
        self._promised = promised
        self._connection: DatabaseConnection | None = None
        self._outlived = False
        self._lock = threading.Lock()

    def run(self, *statements: str, values: tuple[object, ...] = ()) -> list[dict[str, Any]]:
        """Run statements; the last one's rows."""
        with self._lock:
            try:
                connection = self._open()
                for statement in statements:
                    rows = connection.query(statement, values if "%s" in statement else None)
                return rows
            except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError):
                self._cut()
                raise

    def outlive(self) -> None:
        """The server's process has gone: the next statement begins with a new connection."""
        self._outlived = True

    def open_early(self) -> None:
        """Have the connection before it is needed."""
        if self._connection is None:
            with suppress(pymysql.Error, OSError):
                self.run("SELECT 1")

    def lets_in(self) -> bool:
        """True if it greets one more connection."""
        try:
            DatabaseConnection(self._login, CONNECT_S, CONNECT_S).cut()
        except (pymysql.Error, OSError):
            return False
        return True

    def _open(self) -> DatabaseConnection:
        if self._outlived:
            self._cut()
        if self._connection is None:
            self._connection = DatabaseConnection(self._login, ANSWER_S, ANSWER_S)
            self._outlived = False
        return self._connection

    def _cut(self) -> None:
        if self._connection is not None:
            self._connection.cut()
        self._connection = None

    def position(self) -> str:
        """The position up to which it has everything applied, asked now."""
        return written(self.run(POSITIONS)[0])

    def furthest(self) -> str:
        """The furthest position that it has, applied or in the relay log, asked now."""
        received = str(own_channel(self.run(CHANNELS)).get("Gtid_IO_Pos") or "")
        return max(received, self.position(), key=sequence)

    def stop_receiving(self, *, silent: bool) -> None:
        """Receive no more; what is in the relay log is still applied.

        Stopping a semisync replica's receiver connects to its primary once more, to end the other side; when that one
        is silent this takes a second at least. Not so once semisync is off, which only the start of *some* receiver
        makes true: so the helper channel, which reaches no server, is started for an instant.
        """
        if silent and self._lossless:
            self.run("SET GLOBAL rpl_semi_sync_slave_enabled = OFF", f"START SLAVE '{HELPER}' IO_THREAD")
            self._wait_for_semisync_off()
            self.run("STOP SLAVE IO_THREAD", f"STOP SLAVE '{HELPER}'", "SET GLOBAL rpl_semi_sync_slave_enabled = ON")
        else:
            self.run("STOP SLAVE IO_THREAD")

    def _wait_for_semisync_off(self) -> None:
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            rows = self.run("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_slave_status'")
            if rows and rows[0]["Value"] == "OFF":
                return
            time.sleep(0.001)

    def receive_anew(self) -> None:
        """Start the receiver again, with another server number for the time it takes to connect.

        A primary lets a replica in when the replica's old connection has ended, which may be never (MariaDB's receiver
        of acknowledgements waits for a new replica, the old connection for that receiver, the new one for the old).
        A connection under a number of its own is let in at once, and that wakes all of them.
        """
        number = int(self._promised["server_id"])
        self.run("STOP SLAVE IO_THREAD", f"SET GLOBAL server_id = {number + ANOTHER}", "START SLAVE IO_THREAD")
        try:
            deadline = time.monotonic() + CONNECT_S
            while time.monotonic() < deadline:
                if own_channel(self.run(CHANNELS)).get("Slave_IO_Running") == "Yes":
                    return
                time.sleep(0.01)
        finally:
            self.run(f"SET GLOBAL server_id = {number}")

    def put_back(self, violations: Iterable[Violation], *, follows: bool) -> None:
        """Give settings the values that they must have. A receiver keeps those with which it has connected."""
        names = [name for name, _ in violations]
        self.run(*corrections(self._promised, names))
        if follows and "rpl_semi_sync_slave_enabled" in names:
            self.run("STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD")

    def end_sessions(self) -> None:
        """End every session but the manager's own and replication's: one of them may hold a lock.

        Raises RefusedError while one waits in its commit, as on a full disk. To end that one leaves its transaction in
        the log, if it is whole there, and not in the tables; so this server could never follow another.
        """
        sessions = self.run(SESSIONS)
        if waiting := [row["ID"] for row in sessions if row["STATE"] in COMMITTING]:
            raise RefusedError(f"{len(waiting)} sessions wait in their commit: to end them would tear the log")
        for row in sessions:
            with suppress(pymysql.Error):
                self.run(f"KILL HARD CONNECTION {row['ID']}")

    def follow(self, statement: str, address: str, password: str) -> None:
        """Replicate from another server, from the end of what this one has; ``statement`` is the CHANGE MASTER."""
        self.run("STOP ALL SLAVES")
        if self._lossless:
            helper = f"CHANGE MASTER '{HELPER}' TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='nobody'"
            self.run("SET GLOBAL rpl_semi_sync_master_enabled = OFF", helper)
        position = self.position()
        if position != str(self.run("SELECT @@gtid_slave_pos AS position")[0]["position"] or ""):
            self.run("SET GLOBAL gtid_slave_pos = %s", values=(position,))
        self.run(statement, values=(address, password))
        self.run("START SLAVE")

    def stop_following(self) -> None:
        self.run("STOP SLAVE", "RESET SLAVE ALL")

    def close_writes(self, seconds: float = 1.0) -> None:
        """Take no more writes: returns when those under way are done. Raises pymysql.Error when not in time."""
        self.run(f"SET SESSION lock_wait_timeout = {max(1, round(seconds))}", "SET GLOBAL read_only = ON")

    def open_writes(self) -> None:
        """Take writes. With semisync a commit waits for a replica from now on."""
        if self._lossless:
            self.run("SET GLOBAL rpl_semi_sync_master_enabled = ON")
        self.run("SET GLOBAL read_only = OFF")

    def disconnect_writers(self) -> None:
        """End the application's connections."""
        self.run("KILL HARD CONNECTION USER app_write")

    def wait_for(self, position: str, seconds: float) -> bool:
        """Wait until everything up to a position is applied; False if that takes more than some seconds."""
        deadline = time.monotonic() + seconds
        while position and (left := deadline - time.monotonic()) > 0:
            row = self.run("SELECT MASTER_GTID_WAIT(%s, %s) AS late", values=(position, min(left, WAIT_S)))[0]
            if row["late"] == 0:
                return True
        return not position
