"""A connection to MariaDB over a socket of our own, which can be waited on, and cut without a COM_QUIT.

pymysql keeps its socket to itself, and TLS takes it over. So the socket is made here and duplicated before pymysql gets
it: the duplicate shows whether anything has arrived, and shuts the connection down.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pymysql
from pymysql.cursors import DictCursor


class DatabaseConnection:
    """Open from the start, in autocommit mode. ``login`` is pymysql's keywords, ``host`` and ``port`` among them.

    The server has ``greeting_s`` to accept the connection, and as long to greet: a balancer accepts before it knows a
    server, so only the greeting shows that there is one. Every later answer has ``answer_s``. Raises pymysql.Error or
    OSError.
    """

    def __init__(self, login: Mapping[str, Any], greeting_s: float, answer_s: float) -> None:
        self._connection = pymysql.Connection(
            **login,
            defer_connect=True,
            autocommit=True,
            read_timeout=answer_s,
            write_timeout=answer_s,
            cursorclass=DictCursor,
        )
        plug = socket.create_connection((self._connection.host, self._connection.port), greeting_s)
        self._duplicate = plug.dup()
        try:
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self.readable(greeting_s):
                raise TimeoutError("no greeting")
            self._connection.connect(plug)
        except BaseException:
            plug.close()
            self._duplicate.close()
            raise

    def query(self, statement: str, values: tuple[object, ...] | None = None) -> list[dict[str, Any]]:
        """Run a statement. Its rows as dicts by column name."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def readable(self, seconds: float) -> bool:
        """Wait until there is something to read, the end of the connection included; False after some seconds."""
        poll = select.poll()
        poll.register(self._duplicate, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def cut(self) -> None:
        """Close it and send no COM_QUIT: the server may be silent, and a full buffer would block."""
        with suppress(OSError):
            self._duplicate.shutdown(socket.SHUT_RDWR)
        with suppress(pymysql.Error, OSError):
            self._connection.close()
        self._duplicate.close()
