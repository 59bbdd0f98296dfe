"""A write straight at the database's write endpoint, as a good driver does it: one connection, renewed at once."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection

from experiments.db_failover.way import NobodyKnowsError, NotDoneError
from services.site.config import load
from services.site.link import encryption

GREETING_SECONDS = 0.2
ANSWER_SECONDS = 1.0
# who acknowledged it comes with the answer: a server cannot be asked afterwards what it was before
INSERT = "INSERT INTO messages (user_id, body, server) VALUES (%s, %s, 'endpoint') RETURNING @@server_id"
# errors after which nothing of the statement remains: too many connections, a Galera node that is joining, a lock not
# had in time, a deadlock or lost certification, read-only
REFUSED = {1040, 1047, 1205, 1213, 1290, 1792, 1836}


class Endpoint:
    """`Way` to the endpoint and as the user that an application's settings file names; ``author`` is whose messages."""

    repeatable = False

    def __init__(self, config: str, author: int) -> None:
        settings = load(Path(config))
        where = settings.write
        self._place = (str(where.host), where.port)
        self._login = {
            "host": where.host,
            "user": where.user,
            "password": where.password,
            "database": settings.database,
            **encryption(where),
        }
        self._author = author
        self._connection: Any = None

    def write(self, text: str) -> int | None:
        connection = self._open()
        try:
            with connection.cursor() as cursor:
                cursor.execute(INSERT, (self._author, text))
                return int(cursor.fetchone()[0])
        except (pymysql.Error, OSError) as error:
            self._drop()
            if isinstance(error, pymysql.Error) and error.args and error.args[0] in REFUSED:
                raise NotDoneError(str(error)) from error
            raise NobodyKnowsError(str(error)) from error

    def _open(self) -> Any:
        """The connection. What had ended while it was idle is noticed before anything is sent over it."""
        if self._connection is not None and _readable(self._connection._sock, 0):
            self._drop()
        if self._connection is None:
            try:
                self._connection = self._connect()
            except (pymysql.Error, OSError) as error:
                raise NotDoneError(str(error)) from error
        return self._connection

    def _connect(self) -> Any:
        """A balancer accepts before it knows a server: the greeting shows that there is one."""
        plug = socket.create_connection(self._place, GREETING_SECONDS)
        try:
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not _readable(plug, GREETING_SECONDS):
                raise TimeoutError("no greeting")
            connection = Connection(
                defer_connect=True,
                autocommit=True,
                read_timeout=ANSWER_SECONDS,
                write_timeout=ANSWER_SECONDS,
                **self._login,
            )
            connection.connect(plug)
        except BaseException:
            plug.close()
            raise
        return connection

    def _drop(self) -> None:
        with suppress(pymysql.Error, OSError):
            self._connection._force_close()
        self._connection = None


def _readable(plug: Any, seconds: float) -> bool:
    """Whether there is something to read, or the end of the connection."""
    poll = select.poll()
    poll.register(plug, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
