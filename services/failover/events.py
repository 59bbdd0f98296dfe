"""The failover manager's events: JSON lines in its log (topo/eventlog.py), read as they are written."""

from __future__ import annotations

import os
from pathlib import Path

from topo import wait
from topo.eventlog import Event, events_in

LOG = "/var/log/failover.log"


class Events:
    """Everything that is logged from now on. A design without a manager has no log, and no events."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = log.stat().st_size if log.exists() else 0
        self._seen: list[Event] = []

    def seen(self) -> list[Event]:
        """All events so far, in order; a line that is still being written is left for the next time."""
        if self._log.exists():
            with self._log.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < self._offset:  # it was rotated
                    self._offset = 0
                stream.seek(self._offset)
                whole, newline, _ = stream.read().rpartition(b"\n")
            self._offset += len(whole) + len(newline)
            self._seen += events_in(whole)
        return list(self._seen)

    def take(self) -> list[Event]:
        """All events since the last time."""
        taken, self._seen = self.seen(), []
        return taken

    def wait_for(self, name: str, seconds: float, since: float = 0.0) -> Event:
        """The first event of that name after ``since``. Raises DeadlineError."""
        events: list[Event] = []

        def missing() -> str | None:
            events[:] = [event for event in self.seen() if event["event"] == name and event["time"] >= since]
            return None if events else f"{len(self._seen)} events, none of them {name}"

        wait.until(missing, what=f"the manager's {name}", seconds=seconds, every=0.001)
        return events[0]
