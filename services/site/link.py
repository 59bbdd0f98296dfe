"""A link to MariaDB in one role (reading or writing): one connection for each thread.

Connections open at first use, never at import, and close at the first error: a dropped connection is
the one sure way back to a known state, and the only way off a primary that was demoted, since the
balancer chooses the server when a connection opens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.site.config import DatabaseAccount
from services.site.exceptions import StoreUnavailable

CONNECT_S = 2
ANSWER_S = 5


@dataclass(frozen=True)
class Result:
    """A statement's result: its rows, and the id it made if it was an insert."""

    rows: tuple[tuple[Any, ...], ...] = ()
    id: int = 0


def opener(endpoint: DatabaseAccount, database: str, *, logged: bool = False) -> Callable[[], Any]:
    """A function that opens a connection. PyMySQL is loaded by its first call, not while booting.

    ``logged``: the database writes down each of its statements, as one that is slow.
    """

    def connect() -> Any:
        import pymysql

        return pymysql.connect(
            **_place(endpoint),
            user=endpoint.user,
            password=endpoint.password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            write_timeout=ANSWER_S,
            init_command="SET SESSION long_query_time = 0" if logged else None,
        )

    return connect


def _place(endpoint: DatabaseAccount) -> dict[str, Any]:
    if endpoint.unix_socket is not None:
        return {"unix_socket": endpoint.unix_socket, "ssl_disabled": True}
    return {"host": endpoint.host, "port": endpoint.port, **encryption(endpoint)}


def encryption(endpoint: DatabaseAccount) -> dict[str, Any]:
    """pymysql's keywords for speaking TLS with it, or not."""
    if endpoint.ca is None:
        return {"ssl_disabled": True}
    proof = {"ssl_cert": endpoint.proof, "ssl_key": f"{endpoint.proof}.key"} if endpoint.proof else {}
    return {"ssl_ca": endpoint.ca, "ssl_verify_cert": True, "ssl_verify_identity": True, **proof}


class DatabaseLink:
    """The calling thread's connection in one role, opened when needed and given up when broken."""

    def __init__(self, name: str, connect: Callable[[], Any]) -> None:
        self.name = name
        self._connect = connect
        self._mine = threading.local()

    def run(self, sql: str, args: tuple[object, ...] = ()) -> Result:
        """Run one statement once; raises `StoreUnavailable`, and `pymysql.IntegrityError` as it is."""
        try:
            with self._connection().cursor() as cursor:
                cursor.execute(sql, args)
                return Result(tuple(cursor.fetchall()), cursor.lastrowid or 0)
        except Exception as error:
            self._explain(error)
            raise

    def rerun(self, sql: str, args: tuple[object, ...] = ()) -> Result:
        """Run a statement that changes nothing, again if the connection had died while it was idle.

        A connection opened just now is not given a second chance: its failure is the database's answer.
        """
        was_open = self.is_open
        try:
            return self.run(sql, args)
        except StoreUnavailable:
            if not was_open:
                raise
        return self.run(sql, args)

    @property
    def is_open(self) -> bool:
        """True if this thread has a connection without an error so far."""
        return getattr(self._mine, "connection", None) is not None

    def drop(self) -> None:
        """Close this thread's connection; whatever it had not committed is rolled back."""
        connection = getattr(self._mine, "connection", None)
        self._mine.connection = None
        if connection is not None and connection.open:
            connection.close()

    def _connection(self) -> Any:
        if not self.is_open:
            self._mine.connection = self._connect()
        return self._mine.connection

    def _explain(self, error: Exception) -> None:
        """Raise what the site should see instead of `error`, if it is about the connection."""
        from pymysql.err import InterfaceError, InternalError, OperationalError

        if isinstance(error, (OperationalError, InterfaceError, InternalError, OSError)):
            self._discard()
            raise StoreUnavailable(f"{self.name}: {error}") from error

    def _discard(self) -> None:
        try:
            self.drop()
        except Exception:
            self._mine.connection = None
