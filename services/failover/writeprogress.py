"""The progress of a server's writes: for how long some have waited while not one has ended. No clock of its own."""

from __future__ import annotations

#: a write that takes longer waits; and when none has waited for a while, none is due
LONG_S, IDLE_S = 0.5, 3.0


class WriteProgress:
    """Told at every look. A short pause is no progress: clients of sessions that were ended ask again."""

    def __init__(self) -> None:
        self._count: object = None
        self._progressed_at = 0.0
        self._waited_at: float | None = None

    def note(self, count: object, oldest: float, now: float) -> None:
        """``count`` differs when a write has ended; ``oldest``: seconds for which the oldest one has been under way."""
        if oldest >= LONG_S:
            self._waited_at = now
        idle = self._waited_at is None or now - self._waited_at >= IDLE_S
        if count != self._count or idle:
            self._count, self._progressed_at, self._waited_at = count, now, None

    def stalled(self, now: float) -> float:
        """Seconds for which writes have waited, and none has ended."""
        return now - self._progressed_at if self._waited_at is not None else 0.0

    def forgive(self, seconds: float, now: float) -> None:
        """Leave out a time in which nothing was looked at."""
        self._progressed_at = min(now, self._progressed_at + seconds)
        if self._waited_at is not None:
            self._waited_at = min(now, self._waited_at + seconds)
