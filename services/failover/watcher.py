"""Watching one database server: a thread with a connection of its own asks it again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pymysql

from services.failover.observation import SILENT_S, ServerState, sequence
from services.failover.writeprogress import WriteProgress
from services.mariadb.connection import DatabaseConnection
from services.mariadb.guarantees import GIVEN_UP, LOSSLESS, Violation, question, violations

LOOK_S = 0.03
#: silence after which a server has been away, and not only slow
AWAY_S = 1.0
#: both positions of a server: what it has applied, and what is in its binary log
POSITIONS = (
    "SELECT @@server_id AS number, @@read_only AS read_only, @@gtid_current_pos AS current, @@gtid_binlog_pos AS logged"
)
#: applications' statements under way, and connections of replicas that were ended and are still there
SESSIONS_UNDER_WAY = (
    "SELECT USER, HOST, COMMAND, TIME_MS, STATE FROM information_schema.PROCESSLIST"
    " WHERE USER = 'app_write' AND COMMAND IN ('Query', 'Execute') OR USER = 'replication' AND COMMAND = 'Killed'"
)
#: how many commits a replica has acknowledged: with semisync that is progress. The log's position is none: it grows
#: with writes that fail, too
ACKNOWLEDGED = "Rpl_semi_sync_master_yes_tx"
STATUS = f"SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', '{GIVEN_UP}', '{ACKNOWLEDGED}')"
UNACKNOWLEDGED = "Waiting for semi-sync ACK"
CHANNELS = "SHOW ALL SLAVES STATUS"
DIVERGED = 1236


class DatabaseWatcher:
    """``login`` is pymysql's keywords for this server; ``peers`` tells names by address; ``promised``: its settings.

    ``wake`` is called on news, ``refused`` when its port refuses connections.
    """

    def __init__(
        self,
        state: ServerState,
        login: Mapping[str, Any],
        peers: Mapping[str, str],
        promised: Mapping[str, str],
        wake: Callable[[], None],
        refused: Callable[[], None],
    ) -> None:
        self.name = state.name
        self.asked_at = 0.0
        self._login = login
        self._peers = peers
        self._promised = promised
        self._lossless = LOSSLESS.keys() <= promised.keys()
        self._question = f"{POSITIONS}, {question(promised)}"
        self._wake = wake
        self._refused = refused
        self._state = state
        self._answered_at = 0.0
        self._heartbeat: object = None
        self._heartbeat_at = 0.0
        self._answering_since = 0.0
        self._progress = WriteProgress()

    def start(self) -> None:
        threading.Thread(target=self._watch, daemon=True, name=f"watch {self.name}").start()

    def state(self, now: float, fenced: bool) -> ServerState:
        """The server's state at a given time."""
        state = self._state
        age = now - self._heartbeat_at if state.follows else None
        return replace(
            state,
            silent=now - self._answered_at,
            heartbeat_age=age,
            fenced=fenced,
            answering=now - self._answering_since,
            stalled=self._progress.stalled(now) if state.writable else 0.0,
        )

    def forgive(self, seconds: float) -> None:
        """Add the time for which the manager itself could not look: the server's silence does not include it."""
        now = time.monotonic()
        self._answered_at = min(now, self._answered_at + seconds)
        self._heartbeat_at = min(now, self._heartbeat_at + seconds)
        self._progress.forgive(seconds, now)

    def _watch(self) -> None:
        connection: DatabaseConnection | None = None
        while True:
            try:
                connection = connection or DatabaseConnection(self._login, SILENT_S, SILENT_S)
                self._ask(connection)
                if connection.readable(LOOK_S):  # a connection that ends is noticed at once
                    raise ConnectionResetError("the connection ended")
            except (pymysql.Error, OSError) as error:
                self._lose(connection, error)
                connection = None

    def _ask(self, connection: DatabaseConnection) -> None:
        """Ask it everything, and remember the answer."""
        asked_at = time.monotonic()
        own = connection.query(self._question)[0]
        channel = own_channel(connection.query(CHANNELS))
        sessions = [] if own["read_only"] else connection.query(SESSIONS_UNDER_WAY)
        status = {} if own["read_only"] else by_name(connection.query(STATUS))
        self._note_answer(time.monotonic())
        heartbeat = tuple(
            channel.get(name) for name in ("Slave_received_heartbeats", "Gtid_IO_Pos", "Read_Master_Log_Pos")
        )
        if heartbeat != self._heartbeat:
            self._heartbeat, self._heartbeat_at = heartbeat, self._answered_at
        before, self._state = self._state, self._parsed(own, channel, sessions, status)
        if self._state.writable:  # closed for a moment, in a handover that is refused, is no progress either
            count = status.get(ACKNOWLEDGED) if self._lossless else self._state.written
            self._progress.note(count, self._state.stalled, self._answered_at)
        self.asked_at = asked_at
        if before.dead or before.writable != self._state.writable:
            self._wake()

    def _note_answer(self, now: float) -> None:
        if now - self._answered_at >= AWAY_S:
            self._answering_since = now
        self._answered_at = now

    def _parsed(
        self,
        own: Mapping[str, Any],
        channel: Mapping[str, Any],
        sessions: Sequence[Mapping[str, Any]],
        status: Mapping[str, str],
    ) -> ServerState:
        waiting = [session for session in sessions if session["COMMAND"] != "Killed"]
        leaving = {session["HOST"].partition(":")[0] for session in sessions if session["COMMAND"] == "Killed"}
        return ServerState(
            self.name,
            own["number"],
            writable=not own["read_only"],
            written=written(own),
            received=channel.get("Gtid_IO_Pos") or "",
            follows=self._peers.get(channel.get("Master_Host", ""), ""),
            receiving=channel.get("Slave_IO_Running") == "Yes",
            stopped=channel.get("Slave_IO_Running") == "No",
            applying=channel.get("Slave_SQL_Running") == "Yes",
            error=str(channel["Last_IO_Error"]) if channel.get("Last_IO_Errno") == DIVERGED else "",
            uptime=float(status.get("Uptime", 1e9)),
            violations=self._violations(own, status),
            stalled=max((float(session["TIME_MS"]) / 1000 for session in waiting), default=0.0),
            unacknowledged=any(str(session["STATE"]).startswith(UNACKNOWLEDGED) for session in waiting),
            leaving=tuple(sorted(self._peers[address] for address in leaving if address in self._peers)),
        )

    def _violations(self, own: Mapping[str, Any], status: Mapping[str, str]) -> tuple[Violation, ...]:
        found = violations(self._promised, own, writable=not own["read_only"])
        enabled = str(own.get("rpl_semi_sync_master_enabled")) == "1"
        return (*found, (GIVEN_UP, "OFF")) if enabled and status.get(GIVEN_UP) == "OFF" else found

    def _lose(self, connection: DatabaseConnection | None, error: Exception) -> None:
        """The connection broke or was silent: look at what its port answers."""
        if connection is not None:
            connection.cut()
        if isinstance(error, ConnectionRefusedError):
            self._refused()
            if not self._state.dead:
                self._state = replace(self._state, dead=True, writable=False)
                self._wake()
            time.sleep(LOOK_S)
        elif connection is None:
            time.sleep(LOOK_S / 3)


def by_name(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The answer to SHOW STATUS, as values by name."""
    return {str(row["Variable_name"]): str(row["Value"]) for row in rows}


def written(row: Mapping[str, Any]) -> str:
    """The position that a row of ``POSITIONS`` tells."""
    return max(row["current"] or "", row["logged"] or "", key=sequence)


def own_channel(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the channel that follows the primary; the helper channel has a name. Empty when it follows none."""
    return next((row for row in rows if not row["Connection_name"]), {})
