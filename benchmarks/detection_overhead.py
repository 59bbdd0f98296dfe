"""The cost of being guarded: requests a second and processor time, with the detector at work and without it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import child
from benchmarks.comparison import Benchmark, Report, Size, Target, Tell, say, side_by_side
from testbed.body import Body
from topo.errors import EXIT_HOLDS
from topo.plan import CLIENT

if TYPE_CHECKING:
    from services.unit import Unit
    from testbed.testbed import Testbed

GUARDED, UNGUARDED = "guarded", "detector stopped"
PROCESSOR = "processor"
RATES = ("dynamic page", "static file")
#: of the measures, the unit and the target; the processor's is that of detector and controller, which it asks
MEASURES = {
    **{name: ("1/s", Target("ratio", ">=", 0.95)) for name in RATES},
    PROCESSOR: ("s/s", Target("ours", "<=", 0.10)),
}
TICKS = os.sysconf("SC_CLK_TCK")


class DetectionOverhead(Benchmark):
    """One testbed, whose detector is stopped and started again, in turns."""

    name = "detection_overhead"
    programs: Mapping[str, str] = {"wrk": "wrk"}

    def measure(self, size: Size, tell: Tell) -> Report:
        with child.running(self.name, size, flags=("--ids", "on")) as running:
            return report(running.result(tell))

    def body(self, size: Size) -> Body:
        return UnderGuard(size)


class UnderGuard(Body):
    """The same requests, with the detector and without."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        rows, order = [], [GUARDED, UNGUARDED]
        for pair in range(self.size.pairs):
            say("progress", f"pair {pair + 1} of {self.size.pairs}")
            rows.append({variant: self._one(testbed, variant) for variant in order})
            order.reverse()
        say("result", rows)
        return EXIT_HOLDS

    def _one(self, testbed: Testbed, variant: str) -> dict[str, float]:
        from benchmarks.https import ASKED, WARM_UP_SECONDS, rate

        units = {unit.service.role: unit for unit in testbed.supervisor.units}
        detector, controller = units["detection"], units["controller"]
        _set(testbed, detector, running=variant == GUARDED)
        client = testbed.inside(testbed.plan.host_of(CLIENT).name)
        measured: dict[str, float] = {}
        asked = [detector, controller] if variant == GUARDED else [controller]
        began, before = time.monotonic(), _processor(asked)
        for measure in RATES:
            rate(client, WARM_UP_SECONDS, ASKED[measure])
            measured[measure] = rate(client, self.size.seconds, ASKED[measure])
        return {**measured, PROCESSOR: (_processor(asked) - before) / (time.monotonic() - began)}


def _set(testbed: Testbed, detector: Unit, *, running: bool) -> None:
    if running:
        testbed.restart(detector.service.id)
    else:
        testbed.supervisor.stop(detector.service.id)


def _processor(units: Sequence[Unit]) -> float:
    """The seconds of processor time that the services' processes have used."""
    pids = [unit.process.pid for unit in units if unit.process]
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(own[11]) + int(own[12]) for own in fields) / TICKS


def report(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> Report:
    """Pure: from ``{"guarded": {measure: value}, "detector stopped": ...}`` of each pair to series."""
    return side_by_side(MEASURES, rows, GUARDED, UNGUARDED, UNGUARDED)
