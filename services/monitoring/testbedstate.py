"""The testbed's own truth, which it leaves on the monitoring host: the faults in force, and what is being measured.

Nothing that an alert may use: it is what alerts are compared with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from services.monitoring.metric import GAUGE, Metric

#: written by the testbed whenever it changes: {"faults": [[kind, target, what]], "experiment": name, "phase": name}
STATE = "/run/testbed/state.json"


class TestbedState:
    """Without the file there is nothing in force: a testbed that has no fault yet has written none."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, state: str = STATE) -> None:
        self._state = Path(state)

    def metrics(self) -> Iterator[Metric]:
        state = json.loads(self._state.read_text()) if self._state.exists() else {}
        fault = Metric("testbed_fault", GAUGE, ("kind", "target", "what"))
        for words in state.get("faults", ()):
            fault.add(1, *words)
        experiment = Metric("testbed_experiment", GAUGE, ("experiment", "phase"))
        if state.get("experiment"):
            experiment.add(1, state["experiment"], state["phase"])
        return iter((fault, experiment))
