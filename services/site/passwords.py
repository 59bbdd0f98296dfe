"""Password hashes, slow for a guesser and small for a server.

scrypt with N=2^13, r=8, p=10 is one of the settings OWASP's Password Storage Cheat Sheet lists as equally
strong. Its default in werkzeug (N=2^15, p=1) takes 32 MB for each hash in flight and a third of the
work of OWASP's setting of that size; this one takes 8 MB and more time (0.14 s where it was measured),
so several threads that hash at once do not outgrow a small server. glibc keeps that memory once for each
thread (76 MB against 42 MB seen in a worker of four threads) unless it runs with MALLOC_ARENA_MAX=1.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from werkzeug.security import check_password_hash, generate_password_hash

from services.site.exceptions import Busy

METHOD = "scrypt:8192:8:10"
Result = TypeVar("Result")


class HashQueue:
    """One hash at a time, in a thread that others go before.

    Few may wait, so that most of a server's threads are always left for pages and health checks.
    """

    WAITING = 3
    NICE = 5

    def __init__(self) -> None:
        self._room = threading.BoundedSemaphore(1 + self.WAITING)
        self._thread = ThreadPoolExecutor(1, "hash", initializer=lambda: os.nice(self.NICE))  # of that thread alone

    def __call__(self, work: Callable[[], Result]) -> Result:
        """The work's result; raises `Busy` at once when the queue is full."""
        if not self._room.acquire(blocking=False):
            raise Busy
        try:
            return self._thread.submit(work).result()
        finally:
            self._room.release()


def at_once(work: Callable[[], Result]) -> Result:
    """The work's result, in the thread that asks for it, however many do."""
    return work()


class Passwords:
    """Makes and checks hashes by one method; `run` is where the work is done."""

    def __init__(self, method: str | None = None, run: HashQueue | None = None) -> None:
        self.method = method or METHOD
        self._run = run or at_once
        self._nobody = generate_nobody(self.method)

    def hash(self, password: str) -> str:
        """A salted hash that names its own method."""
        return self._run(lambda: generate_password_hash(password, method=self.method))

    def match(self, known: str | None, password: str) -> bool:
        """True if `password` belongs to the hash; without a hash (None: no such user) as slow as with one."""
        return self._run(lambda: check_password_hash(known or self._nobody, password))


def generate_nobody(method: str) -> str:
    """A hash no password has (its digest is of the wrong length), checked at the usual price."""
    return f"{method}$nobody$00"
