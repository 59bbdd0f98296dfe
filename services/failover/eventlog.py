"""The event log: one JSON object a line. Its events are documented in services/failover/manager.py."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


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
