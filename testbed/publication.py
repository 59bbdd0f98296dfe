"""Publication: the faults in force and what is being measured, left on the monitoring host whenever they change.

It is there for comparison: the monitoring finds faults by what they do, and this says which there were.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from services.monitoring.testbedstate import STATE
from services.service import Look, below
from topo.errors import UsageError


class Publication:
    """``place``: the monitoring host, None before there is one; ``faults``: the texts of those in force."""

    def __init__(self, place: Callable[[], Look | None], faults: Callable[[], Iterable[str]]) -> None:
        self._place = place
        self._faults = faults
        self._measured = ("", "")
        self._lock = threading.Lock()

    def write(self) -> None:
        """Publish what is so now."""
        with self._lock:
            place = self._place()
            words = ([*fault.split(" ", 2), "", ""][:3] for fault in self._faults())
            faults = sorted({tuple(fault) for fault in words})
            experiment, phase = self._measured
            state = {"faults": faults, "experiment": experiment, "phase": phase}
            if place is not None:
                with suppress(OSError, UsageError):  # its root may have put something else there
                    folder, name = below(place, STATE, make=True)
                    folder.write(name, json.dumps(state))

    def measure(self, experiment: str, phase: str = "") -> None:
        """This is being measured now; nothing, when both are empty."""
        self._measured = (experiment, phase)
        self.write()
