"""A writer: a worker (instruments/worker.py) that writes at a steady pace and notes the fate of every single write.

Its settings are an `Order`; each result is ``[number, outcome, sent, answered, server, tries]``. A `Way` leads straight
to the database's write endpoint, or through the whole site.

It is the driver that one would want: it never sends a statement again whose fate is indeterminate, unless a key makes
that harmless, and it is back within milliseconds when it was refused.
"""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pymysql

from experiments.instruments.load import not_missed, steady
from experiments.instruments.visit import TRUST
from experiments.instruments.worker import Say, serve
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
OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# between tries: short, because the endpoint may be back at any moment; longer each time, because the machine is small
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.002, 0.015, 1.5


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


@dataclass(frozen=True)
class Order:
    """A writer's settings. ``rate``: writes a second; ``patience``: seconds after which a write is given up."""

    way: str
    tag: str
    rate: float
    workers: int
    patience: float
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WriteFate:
    """The outcome of a write, with times in s since 1970.

    ``sent``: when the last try began; ``answered``: when its fate was known.
    """

    outcome: str
    sent: float
    answered: float
    server: int | None
    tries: int


def written(
    way: Way,
    text: str,
    patience: float,
    now: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> WriteFate:
    """Write it, trying again as long as that is harmless."""
    began, tries, doubt, rest = now(), 0, False, FIRST_PAUSE
    while True:
        sent, tries = now(), tries + 1
        try:
            server = way.write(text)
            return WriteFate(OK, sent, now(), server, tries)
        except FailedError:
            pass
        except IndeterminateError:
            doubt = True
        if (doubt and not way.repeatable) or now() - began >= patience:
            return WriteFate(UNKNOWN if doubt else FAILED, sent, now(), None, tries)
        pause(rest)
        rest = min(rest * GROWTH, LONGEST_PAUSE)


class Writer:
    """Some workers, each at its own pace on its own way; numbers are given once, in order."""

    def __init__(self, order: Order, ways: Callable[[], Way], say: Say) -> None:
        self._order = order
        self._say = say
        self._numbers = itertools.count(1)
        self._turns = [threading.Lock() for _ in range(order.workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(place, turn, ways()), daemon=True)
            for place, turn in enumerate(self._turns)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Return when no write is under way; none begins until ``resume``."""
        for turn in self._turns:
            turn.acquire()

    def resume(self) -> None:
        for turn in self._turns:
            turn.release()

    def end(self) -> None:
        """Writes under way are given up: the reader of their outcomes has gone."""

    def _work(self, place: int, turn: threading.Lock, way: Way) -> None:
        workers, rate = self._order.workers, self._order.rate
        for due in not_missed(steady(rate / workers, time.monotonic() + place / rate)):
            time.sleep(max(0.0, due - time.monotonic()))
            with turn:
                number = next(self._numbers)
                fate = written(way, f"{self._order.tag} {number}", self._order.patience)
                self._say([number, fate.outcome, round(fate.sent, 5), round(fate.answered, 5), fate.server, fate.tries])


def _way(order: Order) -> Callable[[], Way]:
    """A function that makes each worker's way."""
    return lambda: (EndpointWay if order.way == "endpoint" else SiteWay)(**order.options)


def _job(raw: Mapping[str, Any], say: Say) -> Writer:
    order = Order(**raw)
    return Writer(order, _way(order), say)


if __name__ == "__main__":
    sys.exit(serve(_job))
