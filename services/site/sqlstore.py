"""The store in MariaDB: reads from the server's own replica, writes to the primary.

Replication is asynchronous, so a session that has written something carries the position of that write
(its GTID), and its reads wait until the local server is there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, TypeVar

from services.site import gtid, inputs
from services.site.config import Config
from services.site.exceptions import KeyReused, NameTaken, SessionEnded, StoreUnavailable, UnknownUser
from services.site.link import DatabaseLink, Result, opener
from services.site.requestid import tagged
from services.site.store import Caller, Message, User, Written

log = logging.getLogger("foobar.site")

NEWEST = 2**63 - 1
# how long a write is tried again while the database changes hands, and how soon
PATIENCE_S, PAUSE_S = 3.0, 0.01
# a server that was told to take no more writes refuses with this number, and has then written nothing
READ_ONLY = 1290

# the hash is for no log, however many statements the slow log writes down
INSERT_USER = "SET STATEMENT long_query_time = 31536000 FOR INSERT INTO users (name, password_hash) VALUES (%s, %s)"
SELECT_USER = "SELECT id, name, password_hash FROM users WHERE name = %s"
# One statement for the whole transaction: a server that vanishes half-way leaves none open on the primary, whose locks
# would keep all visitors waiting who post again under the same key.
INSERT_MESSAGE = (
    "BEGIN NOT ATOMIC"
    " DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;"
    " IF EXISTS (SELECT 1 FROM ended_sessions WHERE session = %s) THEN SELECT 0, NULL; ELSE"
    " START TRANSACTION;"
    " INSERT INTO messages (user_id, body, server) VALUES (%s, %s, %s);"
    " INSERT INTO idempotency_keys (user_id, idempotency_key, message_id) VALUES (%s, %s, LAST_INSERT_ID());"
    " COMMIT;"
    " SELECT LAST_INSERT_ID(), @@last_gtid;"
    " END IF;"
    " END"
)
END_SESSION = "INSERT IGNORE INTO ended_sessions (session) VALUES (%s)"
SWEEP_SESSIONS = "DELETE FROM ended_sessions WHERE ended < UTC_TIMESTAMP() - INTERVAL 1 DAY"
SELECT_ENDED = "SELECT 1 FROM ended_sessions WHERE session = %s"
# One statement, so that guesses at several servers at once are counted one by one. Those refused prolong no pause.
COUNT_GUESS = (
    "INSERT INTO guesses (user_id, wrong, latest) VALUES (%s, 1, UTC_TIMESTAMP()) ON DUPLICATE KEY UPDATE"
    f" wrong = IF(latest < UTC_TIMESTAMP() - INTERVAL {inputs.PAUSE_MINUTES} MINUTE, 1,"
    f" LEAST(wrong + 1, {inputs.GUESSES + 1})),"
    f" latest = IF(wrong > {inputs.GUESSES}, latest, UTC_TIMESTAMP())"
    " RETURNING wrong"
)
FORGET_GUESSES = "UPDATE guesses SET wrong = 0 WHERE user_id = %s"
SELECT_KEY = (
    "SELECT m.id, m.body, @@GLOBAL.gtid_binlog_pos FROM idempotency_keys k"
    " JOIN messages m ON m.id = k.message_id WHERE k.user_id = %s AND k.idempotency_key = %s"
)
# Newest first along the primary key: while there are few users the optimizer would begin with them, and read and sort
# every message for each page.
SELECT_MESSAGES = (
    "SELECT STRAIGHT_JOIN m.id, u.id, u.name, m.body, m.server, m.created FROM messages m"
    " JOIN users u ON u.id = m.user_id WHERE m.id < %s ORDER BY m.id DESC LIMIT %s"
)
SELECT_POSITION = "SELECT @@GLOBAL.gtid_current_pos"
WAIT_FOR_POSITION = "SELECT MASTER_GTID_WAIT(%s, %s)"

Run = Callable[..., Result]
Value = TypeVar("Value")


def connected(config: Config) -> MariaDBStore:
    """The store of one server's settings; it connects at its first query."""
    read, write = (
        DatabaseLink(f"{role} {account}", opener(account, config.database, logged=config.statements_logged))
        for role, account in (("read", config.read), ("write", config.write))
    )
    return MariaDBStore(read, write, wait_s=config.gtid_wait_s)


class MariaDBStore:
    """`Store` on two links. A read may run twice; a write only if nothing was written, or its key makes that safe."""

    def __init__(self, read: DatabaseLink, write: DatabaseLink, *, wait_s: float) -> None:
        self._read = read
        self._write = write
        self._wait_s = wait_s

    def add_user(self, caller: Caller, name: str, password_hash: str) -> Written:
        import pymysql

        def sign_up() -> Written:
            with self._transaction(caller) as run:
                user = run(INSERT_USER, name, password_hash)
            return Written(user.id, self._last_write(caller))

        try:
            return self._insist(caller, sign_up, keyed=False)
        except pymysql.IntegrityError as error:
            raise NameTaken(name) from error

    def find_user(self, caller: Caller, name: str) -> User | None:
        rows = self._fetch(caller, SELECT_USER, name)
        return User(*rows[0]) if rows else None

    def add_message(self, caller: Caller, author_id: int, text: str, server: str, key: str) -> Written:
        return self._insist(caller, lambda: self._post(caller, author_id, text, server, key), keyed=True)

    def messages(self, caller: Caller, before: int | None, limit: int) -> list[Message]:
        rows = self._fetch(caller, SELECT_MESSAGES, NEWEST if before is None else before, limit)
        return [_message(*row) for row in rows]

    def end_session(self, caller: Caller) -> Written:
        def end() -> Written:
            with self._transaction(caller) as run:
                run(END_SESSION, caller.session)
                run(SWEEP_SESSIONS)
            return Written(0, self._last_write(caller))

        return self._insist(caller, end, keyed=True)

    def has_ended(self, caller: Caller) -> bool:
        return bool(self._read.rerun(tagged(SELECT_ENDED, caller.request), (caller.session,)).rows)

    def count_guess(self, caller: Caller, user_id: int) -> int:
        """Counted at the primary, so the limit holds over all servers, and over a change of the primary."""
        count = tagged(COUNT_GUESS, caller.request)
        return int(self._insist(caller, lambda: self._write.run(count, (user_id,)), keyed=True).rows[0][0])

    def forget_guesses(self, caller: Caller, user_id: int) -> None:
        forget = tagged(FORGET_GUESSES, caller.request)
        self._insist(caller, lambda: self._write.run(forget, (user_id,)), keyed=True)

    def ping(self, caller: Caller) -> None:
        self._read.rerun(tagged("SELECT 1", caller.request))

    def _insist(self, caller: Caller, write: Callable[[], Value], *, keyed: bool) -> Value:
        """Write, again and again for some seconds: the primary may have died, and another is about to take over.

        `keyed`: it may happen twice. Otherwise only what certainly was not written: a commit without an answer may
        have happened.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return write()
            except StoreUnavailable as error:
                if (error.unsure and not keyed) or time.monotonic() >= deadline:
                    raise
                log.warning("req=%s writing again: %s", caller.request, error)
            time.sleep(PAUSE_S)

    def _post(self, caller: Caller, author_id: int, text: str, server: str, key: str) -> Written:
        """Insert message and key together, or neither: a second transaction waits, then finds the key."""
        import pymysql

        values = (caller.session, author_id, text, server, author_id, key)
        try:
            number, position = self._write.run(tagged(INSERT_MESSAGE, caller.request), values).rows[0]
        except pymysql.IntegrityError as error:
            return self._replay(caller, author_id, text, key, error)
        if not number:
            raise SessionEnded(caller.session)
        return Written(number, position or "")

    def _replay(self, caller: Caller, author_id: int, text: str, key: str, error: Exception) -> Written:
        """The earlier outcome of this key, looked up on the primary: replicas may not have it yet."""
        rows = self._write.rerun(tagged(SELECT_KEY, caller.request), (author_id, key)).rows
        if not rows:
            raise UnknownUser(author_id) from error
        message_id, posted, position = rows[0]
        if posted != text:
            raise KeyReused(key) from error
        return Written(message_id, position or "", replayed=True)

    @contextmanager
    def _transaction(self, caller: Caller) -> Iterator[Run]:
        """A transaction on the primary; undone unless it is left without an exception.

        Only its opening statement may run twice, so a connection that died while idle costs nothing
        and no insert is ever repeated blindly. Until its COMMIT is sent, a failure has written nothing.
        """

        def run(sql: str, *args: object) -> Result:
            return self._write.run(tagged(sql, caller.request), args)

        self._write.rerun(tagged("START TRANSACTION", caller.request))
        try:
            yield run
            self._commit(run)
        except BaseException:
            self._roll_back(run)
            raise

    def _commit(self, run: Run) -> None:
        try:
            run("COMMIT")
        except StoreUnavailable as error:
            error.unsure = not (error.__cause__ and error.__cause__.args[:1] == (READ_ONLY,))
            raise

    def _roll_back(self, run: Run) -> None:
        if not self._write.is_open:
            return
        try:
            run("ROLLBACK")
        except StoreUnavailable as error:
            log.info("rolled back by the end of the connection: %s", error)

    def _last_write(self, caller: Caller) -> str:
        """The position of the commit just made, or "" (the commit stands even if this fails)."""
        try:
            return str(self._write.run(tagged("SELECT @@last_gtid", caller.request)).rows[0][0] or "")
        except StoreUnavailable as error:
            log.warning("req=%s committed, but its GTID is unknown: %s", caller.request, error)
            return ""

    def _fetch(self, caller: Caller, sql: str, *args: object) -> tuple[tuple[Any, ...], ...]:
        """Rows no older than what the caller has seen, if any server that answers has them."""
        statement = tagged(sql, caller.request)
        if not self._is_current(caller):
            try:
                return self._write.rerun(statement, args).rows
            except StoreUnavailable as error:
                log.warning("req=%s reading stale rows: %s", caller.request, error)
        return self._read.rerun(statement, args).rows

    def _is_current(self, caller: Caller) -> bool:
        """Wait until the local server has the caller's last write; False if it takes too long.

        A primary never waits: MASTER_GTID_WAIT looks at what came by replication, so on the server that
        made the transaction it would only ever time out. Hence the look at the whole position first.
        """
        if not self._wait_s or not gtid.is_position(caller.gtid):
            return True
        here = self._read.rerun(tagged(SELECT_POSITION, caller.request)).rows[0][0]
        if gtid.covers(here or "", caller.gtid):
            return True
        wait = tagged(WAIT_FOR_POSITION, caller.request)
        waited = self._read.rerun(wait, (caller.gtid, self._wait_s)).rows[0][0]
        if waited != 0:
            log.warning("req=%s replica at %s, session at %s", caller.request, here, caller.gtid)
        return bool(waited == 0)


def _message(number: int, author_id: int, author: str, text: str, server: str, created: datetime) -> Message:
    """One row of `SELECT_MESSAGES`; the database keeps UTC but does not say so."""
    return Message(number, author_id, author, text, server, created.replace(tzinfo=timezone.utc))
