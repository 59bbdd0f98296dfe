"""Active faults: everything that is broken on purpose now, numbered, so that it can be shown and healed one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from typing import Any, Protocol

from topo.errors import RefusedError


class Numbered(Protocol):
    """A fault's injection, as far as it is kept here."""

    number: int


class ActiveFaults:
    """Every fault in force, and the contexts of those that were injected by hand. Used from several threads."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """``changed`` is called whenever there is one more, or one less."""
        self._changed = changed
        self._numbers = count(1)
        self._active: dict[int, tuple[str, float]] = {}
        self._held: dict[int, AbstractContextManager[Numbered]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def noted(self, what: str) -> Iterator[int]:
        """A fault that is in force for as long as this block is; gives its number."""
        number = next(self._numbers)
        self._active[number] = (what, time.time())
        try:
            self._changed()
            yield number
        finally:
            del self._active[number]
            self._changed()

    def hold(self, fault: AbstractContextManager[Numbered]) -> int:
        """Enter a fault's block and stay in it until ``heal``; gives its number."""
        number = fault.__enter__().number
        with self._lock:
            self._held[number] = fault
        return number

    def heal(self, number: int | None = None) -> list[str]:
        """Leave the block of one fault, or of all, the latest first; gives what they were.

        Raises RefusedError; or what a healing raised, once all others are healed too.
        """
        with self._lock:
            if number is not None and number not in self._held:
                raise RefusedError(f"no fault {number} was injected by hand; there are: {self._named()}")
            numbers = sorted(self._held) if number is None else [number]
            healed = [self._active[fault][0] for fault in reversed(numbers)]
            leaving = ExitStack()
            for fault in numbers:
                leaving.push(self._held.pop(fault))
        leaving.close()
        return healed

    def status(self) -> list[dict[str, Any]]:
        """One row per fault in force: number, what, since (s since 1970), by_hand."""
        return [
            {"number": number, "fault": what, "since": since, "by_hand": number in self._held}
            for number, (what, since) in sorted(self._active.items())
        ]

    def _named(self) -> str:
        return ", ".join(f"{number} ({self._active[number][0]})" for number in sorted(self._held)) or "none"
