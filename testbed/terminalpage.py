"""A live page on a terminal: drawn again and again until ``q``; the terminal is as before then, whatever happens."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Group
from rich.live import Live
from rich.text import Text

from testbed.plainconsole import PlainConsole
from topo.errors import EXIT_INTERRUPTED

EVERY_S = 0.25
#: (width, height) -> the lines
Draw = Callable[[int, int], list[Text]]


def show(draw: Draw) -> None:
    """Until ``q`` or Ctrl-C. What ``draw`` raises is raised when the terminal is as before."""
    console = PlainConsole()
    while _shown(console, draw):
        os.kill(os.getpid(), signal.SIGSTOP)  # Ctrl-Z; goes on here


def _shown(console: PlainConsole, draw: Draw) -> bool:
    """True if it is to be continued later."""
    asked: list[int] = []
    with (
        suppress(KeyboardInterrupt),  # a wish to leave, also while it is drawn
        _signals(asked),
        _keys() as keyboard,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while not asked:
            live.update(Group(*draw(console.width, console.height)), refresh=True)
            if b"q" in _typed(keyboard):
                return False
        return True
    return False


def _typed(keyboard: int) -> bytes:
    """The keys that are typed within a moment. The end of the input is a wish to leave, too."""
    ready, _, _ = select.select([keyboard], [], [], EVERY_S)
    if not ready:
        return b""
    return os.read(keyboard, 64) or b"q"


@contextmanager
def _keys() -> Iterator[int]:
    """Each key at once, and not shown."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@contextmanager
def _signals(stopped: list[int]) -> Iterator[None]:
    """A wish to end (SIGTERM, a closed terminal) is an orderly end; one to stop is noted in ``stopped``."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_INTERRUPTED)

    handlers = {signal.SIGTERM: end, signal.SIGHUP: end, signal.SIGTSTP: lambda number, _: stopped.append(number)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
