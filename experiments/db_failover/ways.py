"""Ways to the database: straight at its write endpoint, and through the whole site; and how a try may end."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Protocol

import pymysql

from experiments.instruments.visit import TRUST
from services.mariadb.connection import DatabaseConnection
from services.site.config import load
from services.site.link import encryption
from topo.plan import SITE

GREETING_SECONDS = 0.2
ANSWER_SECONDS = 1.0
# which server acknowledged it comes with the answer: a server cannot be asked afterwards what it was before
INSERT = "INSERT INTO messages (user_id, body, server) VALUES (%s, %s, 'endpoint') RETURNING @@server_id AS acked_by"
# errors after which nothing of the statement remains: too many connections, a Galera node that is joining, a lock not
# had in time, a deadlock or lost certification, read-only
REFUSED = {1040, 1047, 1205, 1213, 1290, 1792, 1836}
CREATED = 201


class FailedError(Exception):
    """Certainly not executed: refused, or never sent. Trying again is right."""


class IndeterminateError(Exception):
    """Sent, and then the connection was lost or the answer did not come."""


class Way(Protocol):
    """A way to the database, for one worker. ``repeatable``: writing the same text again does no harm."""

    repeatable: bool

    def write(self, text: str) -> int | None:
        """Try once; the server that acknowledged it, if one can tell. Raises the two errors above."""


class EndpointWay:
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
                raise FailedError(str(error)) from error
            raise IndeterminateError(str(error)) from error

    def _open(self) -> DatabaseConnection:
        """The connection. One that had ended while it was idle is renewed before anything is sent over it."""
        if self._connection is not None and self._connection.readable(0):
            self._drop()
        if self._connection is None:
            try:
                self._connection = DatabaseConnection(self._login, GREETING_SECONDS, ANSWER_SECONDS)
            except (pymysql.Error, OSError) as error:
                raise FailedError(str(error)) from error
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.cut()
        self._connection = None


class SiteWay:
    """`Way` through the whole site, for a logged-in user. Each message has a key, so sending it again is harmless."""

    repeatable = True

    def __init__(self, cookie: str, token: str) -> None:
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Referer": f"https://{SITE}/",
            "Cookie": cookie,
            "X-CSRFToken": token,
        }
        self._connection: http.client.HTTPSConnection | None = None

    def write(self, text: str) -> None:
        body, headers = json.dumps({"message": text}), {**self._headers, "Idempotency-Key": text.replace(" ", "-")}
        connection = self._open()
        try:
            connection.request("POST", "/messages", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise IndeterminateError(str(error)) from error
        if answer.status != CREATED:
            refused = 400 <= answer.status < 500
            raise (FailedError if refused else IndeterminateError)(f"status {answer.status}")

    def _open(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            trust = ssl.create_default_context(cafile=TRUST)
            connection = http.client.HTTPSConnection(SITE, timeout=ANSWER_SECONDS, context=trust)
            try:
                connection.connect()
            except OSError as error:
                raise FailedError(str(error)) from error
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
