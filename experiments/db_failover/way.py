"""A way to the database: what a writer asks of it, and the two ways in which it may fail."""

from __future__ import annotations

from typing import Protocol


class NotDoneError(Exception):
    """Certainly not executed: refused, or never sent. Trying again is right."""


class NobodyKnowsError(Exception):
    """Sent, and then the connection was lost or the answer did not come."""


class Way(Protocol):
    """A way to the database, for one worker. ``repeatable``: writing the same text again does no harm."""

    repeatable: bool

    def write(self, text: str) -> int | None:
        """Try once; the server that acknowledged it, if one can tell. Raises the two errors above."""
