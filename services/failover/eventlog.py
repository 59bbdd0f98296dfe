"""The event log: one JSON object a line. Its events are documented in services/failover/manager.py."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class EventLog:
    """Appends; a line is written before ``note`` returns."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a", buffering=1)

    def note(self, event: str, **details: Any) -> None:
        self._stream.write(json.dumps({"time": round(time.time(), 6), "event": event, **details}) + "\n")
