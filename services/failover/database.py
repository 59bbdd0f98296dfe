"""One database server as the manager reaches it: a thread that watches it, and a connection to change it."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pymysql
import pymysql.cursors

from services.failover.observation import SILENT_S, Server, sequence

LOOK_S = 0.03
HANDS_S = 3.0
#: a second, never connected replication channel: see ``Database.detach``
HUSH = "hush"
ASK = (
    "SELECT @@server_id AS number, @@read_only AS read_only, @@gtid_current_pos AS current, @@gtid_binlog_pos AS logged"
)
DIVERGED = 1236


class Database:
    """``login`` is pymysql's keywords for this server; ``peers`` tells names by address; ``wake`` is called on news."""

    def __init__(
        self, name: str, number: int, login: Mapping[str, Any], peers: Mapping[str, str], wake: Callable[[], None]
    ) -> None:
        self.name = name
        self.login = dict(login)
        self.peers = peers
        self.lossless = False
        self._wake = wake
        self._seen = Server(name, number, silent=1e9)
        self._heard_at = 0.0
        self.asked_at = 0.0
        self._fed_at = 0.0
        self._fed: Any = None
        self._hands: Any = None
        self._outlived = False
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._watch, daemon=True, name=f"watch {self.name}").start()

    def server(self, now: float, fenced: bool) -> Server:
        """What is known of it at a moment."""
        seen = self._seen
        starved = now - self._fed_at if seen.follows else None
        values = {**vars(seen), "silent": now - self._heard_at, "starved": starved, "fenced": fenced}
        return Server(**values)

    def forgive(self, seconds: float) -> None:
        """The manager itself could not look for so long: that is nobody else's silence."""
        now = time.monotonic()
        self._heard_at = min(now, self._heard_at + seconds)
        self._fed_at = min(now, self._fed_at + seconds)

    # --- watching --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        connection: Any = None
        while True:
            try:
                connection = connection or self._connect(SILENT_S)
                self._take(connection)
                self._pause(connection)
            except (pymysql.Error, OSError) as error:
                self._lose(connection, error)
                connection = None

    def _connect(self, seconds: float) -> Any:
        return pymysql.connect(
            **self.login,
            autocommit=True,
            connect_timeout=seconds,
            read_timeout=seconds,
            write_timeout=seconds,
            cursorclass=pymysql.cursors.DictCursor,
        )

    def _take(self, connection: Any) -> None:
        """Ask it everything, and remember the answer."""
        asked_at = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(ASK)
            own = cursor.fetchone()
            cursor.execute("SHOW ALL SLAVES STATUS")
            channels = [row for row in cursor.fetchall() if not row["Connection_name"]]
        now = time.monotonic()
        channel = channels[0] if channels else {}
        fed = channel.get("Slave_received_heartbeats"), channel.get("Gtid_IO_Pos"), channel.get("Read_Master_Log_Pos")
        if fed != self._fed:
            self._fed, self._fed_at = fed, now
        before, self._heard_at = self._seen, now
        self._seen = Server(
            self.name,
            own["number"],
            writable=not own["read_only"],
            written=max(own["current"] or "", own["logged"] or "", key=sequence),
            received=channel.get("Gtid_IO_Pos") or "",
            follows=self.peers.get(channel.get("Master_Host", ""), ""),
            receiving=channel.get("Slave_IO_Running") == "Yes",
            stopped=channel.get("Slave_IO_Running") == "No",
            applying=channel.get("Slave_SQL_Running") == "Yes",
            error=str(channel["Last_IO_Error"]) if channel.get("Last_IO_Errno") == DIVERGED else "",
        )
        self.asked_at = asked_at
        if before.dead or before.writable != self._seen.writable:
            self._wake()

    def _pause(self, connection: Any) -> None:
        """Until the next look; a connection that ends meanwhile is noticed at once."""
        if select.select([connection._sock], [], [], LOOK_S)[0]:
            raise ConnectionResetError("the connection ended")

    def _lose(self, connection: Any, error: Exception) -> None:
        """The connection broke or was silent: look who answers at its port."""
        if connection is not None:
            _drop(connection)
        cause = getattr(error, "original_exception", error)
        if isinstance(cause, ConnectionRefusedError):
            self._outlived = True
            if not self._seen.dead:
                self._seen = Server(**{**vars(self._seen), "dead": True, "writable": False})
                self._wake()
            time.sleep(LOOK_S)
        elif connection is None:
            time.sleep(LOOK_S / 3)

    # --- changing --------------------------------------------------------------------------------------------------

    def run(self, *statements: str, values: tuple[object, ...] = (), seconds: float = HANDS_S) -> list[dict[str, Any]]:
        """Run statements over the kept connection; the last one's rows. Raises pymysql.Error or OSError."""
        with self._lock:
            try:
                if self._outlived and self._hands is not None:  # of a process that has gone
                    _drop(self._hands)
                    self._hands = None
                if self._hands is None:
                    self._hands = self._connect(seconds)
                    self._outlived = False
                self._hands._read_timeout = seconds
                with self._hands.cursor() as cursor:
                    for statement in statements:
                        cursor.execute(statement, values if "%s" in statement else None)
                    return list(cursor.fetchall())
            except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError):
                if self._hands is not None:
                    _drop(self._hands)
                self._hands = None
                raise

    def warm(self) -> None:
        """Have the connection for changes ready before it is needed."""
        if self._hands is None and self.server(time.monotonic(), False).heard:
            with suppress(pymysql.Error, OSError):
                self.run("SELECT 1")

    def position(self) -> str:
        """The position up to which it has everything applied, asked now."""
        row = self.run(ASK)[0]
        return max(row["current"] or "", row["logged"] or "", key=sequence)

    def received(self) -> str:
        """The position up to which it has the relay log, asked now."""
        rows = [row for row in self.run("SHOW ALL SLAVES STATUS") if not row["Connection_name"]]
        return str(rows[0]["Gtid_IO_Pos"] or "") if rows else ""

    def detach(self, *, silent: bool) -> None:
        """Receive no more; what is in the relay log is still applied.

        Stopping a semisync replica's receiver connects to its primary once more, to end the other side; when that one
        is silent this takes a second at least. Not so once semisync is off, which only the start of *some* receiver
        makes true: so another channel, that reaches nobody, is started for an instant.
        """
        if silent and self.lossless:
            self.run("SET GLOBAL rpl_semi_sync_slave_enabled = OFF", f"START SLAVE '{HUSH}' IO_THREAD")
            self._wait_for_hush()
            self.run("STOP SLAVE IO_THREAD", f"STOP SLAVE '{HUSH}'", "SET GLOBAL rpl_semi_sync_slave_enabled = ON")
        else:
            self.run("STOP SLAVE IO_THREAD")

    def _wait_for_hush(self) -> None:
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            rows = self.run("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_slave_status'")
            if rows and rows[0]["Value"] == "OFF":
                return
            time.sleep(0.001)

    def follow(self, statement: str, address: str, password: str) -> None:
        """Replicate from another server, from the end of what this one has; ``statement`` is the CHANGE MASTER."""
        self.run("STOP ALL SLAVES")
        if self.lossless:
            hush = f"CHANGE MASTER '{HUSH}' TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='nobody'"
            self.run("SET GLOBAL rpl_semi_sync_master_enabled = OFF", hush)
        position = self.position()
        if position != str(self.run("SELECT @@gtid_slave_pos AS position")[0]["position"] or ""):
            self.run("SET GLOBAL gtid_slave_pos = %s", values=(position,))
        self.run(statement, values=(address, password))
        self.run("START SLAVE")

    def close(self, seconds: float = 1.0) -> None:
        """Take no more writes: returns when those under way are done. Raises pymysql.Error when not in time."""
        self.run(f"SET SESSION lock_wait_timeout = {max(1, round(seconds))}", "SET GLOBAL read_only = ON")

    def open(self) -> None:
        """Take writes. With semisync a commit waits for a replica from now on."""
        if self.lossless:
            self.run("SET GLOBAL rpl_semi_sync_master_enabled = ON")
        self.run("SET GLOBAL read_only = OFF")

    def lead(self) -> None:
        """Follow nobody any more."""
        self.run("STOP SLAVE", "RESET SLAVE ALL")

    def disconnect_writers(self) -> None:
        """End the application's connections."""
        self.run("KILL HARD CONNECTION USER app_write")

    def wait_for(self, position: str, seconds: float) -> bool:
        """Whether everything up to a position has been applied within some seconds."""
        if not position:
            return True
        row = self.run("SELECT MASTER_GTID_WAIT(%s, %s) AS late", values=(position, seconds), seconds=seconds + 1)[0]
        return bool(row["late"] == 0)


def _drop(connection: Any) -> None:
    """Close without a good-bye: the other side may be silent."""
    with suppress(Exception):
        connection._force_close()
