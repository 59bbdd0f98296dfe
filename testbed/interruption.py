"""A wish to leave, inside a box: Ctrl-C, SIGTERM, or a testbed that broke; and when such a wish has to wait."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from topo.errors import EXIT_INTERRUPTED, FoobarError

AGAIN_SECONDS = 1.0
SHOW_CURSOR = b"\x1b[?25h\r\n"  # the waterfall hides it


class Interruption:
    """Ctrl-C and a wish to stop (SIGTERM), and a testbed that broke.

    During the boot a wish to leave is granted on the spot: nothing has been made yet that the kernel does not undo.
    Once up, it is SystemExit in the main thread, so that faults heal and results are saved. The launcher prints the
    line that says so, because Ctrl-C may come before this process can print it.

    An exception may be lost where Python swallows them, so it is raised again when the wish is repeated a while later;
    but not while things are being undone: half an undoing is of no use.
    """

    def __init__(self) -> None:
        self._booting = True
        self._deaf_until = 0.0
        self._reason = ""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._asked_to_leave())
        signal.signal(signal.SIGUSR1, lambda *_: self._leave(FoobarError, self._reason))
        # kept back by the launcher; programs of a box's own do not call early.arm, and their children would not hear it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def booted(self) -> None:
        """From now on there is something to undo."""
        self._booting = False

    def broken(self, reason: str) -> None:
        """Called from any thread: the main thread leaves with a FoobarError that says the reason."""
        self._reason = reason
        os.kill(os.getpid(), signal.SIGUSR1)

    def _asked_to_leave(self) -> None:
        if self._booting:
            if os.isatty(1):
                os.write(1, SHOW_CURSOR)
            os._exit(EXIT_INTERRUPTED)
        self._leave(SystemExit, EXIT_INTERRUPTED)

    def _leave(self, how: type[BaseException], why: object) -> None:
        # the time first: a second signal may arrive while the exception is being made
        now = time.monotonic()
        if now >= self._deaf_until:
            self._deaf_until = now + AGAIN_SECONDS
            raise how(why)

    def ignore(self) -> None:
        """From now on things are being undone."""
        self._deaf_until = float("inf")


def _let_pass(_number: int, _frame: FrameType | None) -> None:
    pass


@contextmanager
def undisturbed() -> Iterator[None]:
    """While faults heal and evidence is saved, a wish to leave waits: the launcher repeats it, and half is no use.

    Does nothing in other threads than the main one, where signals do not arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # not SIG_IGN: a daemon started meanwhile would inherit it and could not be asked to stop
    before = {number: signal.signal(number, _let_pass) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
