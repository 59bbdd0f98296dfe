"""The cost of being monitored: requests a second, boot, and memory, with the monitoring and without it."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks import child
from benchmarks.comparison import Benchmark, Report, Size, Target, Tell, say, side_by_side
from benchmarks.footprint import footprint
from testbed.body import Body
from topo.plan import CLIENT

if TYPE_CHECKING:
    from testbed.testbed import Testbed

ON, OFF = "on", "off"
#: of the measures, the unit and the target
MEASURES = {
    "dynamic page": ("1/s", Target("ratio", ">=", 0.95)),
    "static file": ("1/s", Target("ratio", ">=", 0.95)),
    "steady": ("s", Target("ours", "<=", 4)),
    "memory": ("MB", Target("ours", "<=", 1100)),
}


class MonitoringOverhead(Benchmark):
    """One testbed at a time, in turns with and without: two side by side would pay for each other's monitoring."""

    name = "monitoring_overhead"
    programs: Mapping[str, str] = {"wrk": "wrk"}

    def measure(self, size: Size, tell: Tell) -> Report:
        rows, order = [], [ON, OFF]
        for pair in range(size.pairs):
            tell(f"pair {pair + 1} of {size.pairs}")
            rows.append({value: self._one(value, size, tell) for value in order})
            order.reverse()
        return report(rows)

    def body(self, size: Size) -> Body:
        return UnderRequests(size)

    def _one(self, value: str, size: Size, tell: Tell) -> dict[str, float]:
        began = time.monotonic()
        with child.running(self.name, size, flags=("--monitoring", value)) as running:
            found = running.result(tell)
            memory = footprint(running.pid).all
        return {**found["rates"], "steady": found["steady"] - began, "memory": memory}


class UnderRequests(Body):
    """The rates of one testbed, one after the other."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        from benchmarks.https import ASKED, WARM_UP_SECONDS, rate

        steady, client = time.monotonic(), testbed.inside(testbed.plan.host_of(CLIENT).name)
        rates = {}
        for measure in ("dynamic page", "static file"):
            rate(client, WARM_UP_SECONDS, ASKED[measure])
            rates[measure] = rate(client, self.size.seconds, ASKED[measure])
        say("result", {"steady": steady, "rates": rates})
        while True:  # until the process outside has looked at the memory and ends this box
            signal.pause()


def report(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> Report:
    """Pure: from ``{"on": {measure: value}, "off": ...}`` of each pair to series."""
    return side_by_side(MEASURES, rows, ON, OFF, "--monitoring off")
