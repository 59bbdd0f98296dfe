"""A write straight at the database's write endpoint, as a good driver does it: one connection, renewed at once."""

from __future__ import annotations

from pathlib import Path

import pymysql

from experiments.db_failover.way import NobodyKnowsError, NotDoneError
from services.mariadb.connection import DatabaseConnection
from services.site.config import load
from services.site.link import encryption

GREETING_SECONDS = 0.2
ANSWER_SECONDS = 1.0
# who acknowledged it comes with the answer: a server cannot be asked afterwards what it was before
INSERT = "INSERT INTO messages (user_id, body, server) VALUES (%s, %s, 'endpoint') RETURNING @@server_id AS acked_by"
# errors after which nothing of the statement remains: too many connections, a Galera node that is joining, a lock not
# had in time, a deadlock or lost certification, read-only
REFUSED = {1040, 1047, 1205, 1213, 1290, 1792, 1836}


class Endpoint:
    """`Way` to the endpoint and as the user that an application's settings file names; ``author`` is whose messages."""

    repeatable = False

    def __init__(self, config: str, author: int) -> None:
        settings = load(Path(config))
        where = settings.write
        self._login = {
            "host": where.host,
            "port": where.port,
            "user": where.user,
            "password": where.password,
            "database": settings.database,
            **encryption(where),
        }
        self._author = author
        self._connection: DatabaseConnection | None = None

    def write(self, text: str) -> int | None:
        connection = self._open()
        try:
            return int(connection.query(INSERT, (self._author, text))[0]["acked_by"])
        except (pymysql.Error, OSError) as error:
            self._drop()
            if isinstance(error, pymysql.Error) and error.args and error.args[0] in REFUSED:
                raise NotDoneError(str(error)) from error
            raise NobodyKnowsError(str(error)) from error

    def _open(self) -> DatabaseConnection:
        """The connection. One that had ended while it was idle is renewed before anything is sent over it."""
        if self._connection is not None and self._connection.readable(0):
            self._drop()
        if self._connection is None:
            try:
                self._connection = DatabaseConnection(self._login, GREETING_SECONDS, ANSWER_SECONDS)
            except (pymysql.Error, OSError) as error:
                raise NotDoneError(str(error)) from error
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.cut()
        self._connection = None
