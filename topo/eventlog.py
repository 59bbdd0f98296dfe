"""Event logs: one JSON object a line, each with ``time`` (unix s) and ``event``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from topo import jsonlines

Event = dict[str, Any]
#: the year 5138: later ones are nonsense, which no calendar can show
MOST_TIME = 1e11


class EventLog:
    """Appends; a line is written before ``note`` returns. While its disk is full, lines are lost and nothing else."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._torn = False

    def note(self, event: str, **details: Any) -> None:
        line = json.dumps({"time": round(time.time(), 6), "event": event, **details}) + "\n"
        data = f"\n{line}".encode() if self._torn else line.encode()
        try:
            self._torn = os.write(self._file, data) < len(data)
        except OSError:
            self._torn = True


def events_in(log: bytes) -> Iterator[Event]:
    """The lines of a log that are events, at a time that can be."""
    return (row for _, row in jsonlines.rows(log) if "event" in row and _is_time(row.get("time")))


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < MOST_TIME
