"""The cost of the web application firewall: requests a second with it and without it, of a page and of a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, say
from testbed.body import Body
from topo.errors import EXIT_HOLDS
from topo.plan import CLIENT

if TYPE_CHECKING:
    from testbed.testbed import Testbed

ON, OFF = "on", "off"
#: of the measures, the target
TARGETS = {"dynamic page": Target("ratio", ">=", 0.75), "static file": Target("ratio", ">=", 0.95)}


class WafCost(Benchmark):
    """Two testbeds side by side, of which one is asked at a time, in turns; without monitoring, which costs both."""

    name = "waf"
    programs: Mapping[str, str] = {"wrk": "wrk"}

    def measure(self, size: Size, tell: Tell) -> Report:
        variants = {value: ("--waf", value, "--monitoring", "off") for value in (ON, OFF)}
        return report(child.in_turns(self.name, size, tell, variants, TARGETS))

    def body(self, size: Size) -> Body:
        return WafBody(size)


def report(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> Report:
    """Series from each measure's rows, ``{"on": requests a second, "off": ...}``."""
    return Report(
        tuple(
            PairedSeries(
                measure,
                "1/s",
                tuple(row[ON] for row in rows),
                tuple(row[OFF] for row in rows),
                f"--waf {OFF}",
                TARGETS[measure],
            )
            for measure, rows in answers.items()
        )
    )


class WafBody(Body):
    """One testbed: a line on standard input is a measure, the answer its rate."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        from benchmarks.https import ASKED, WARM_UP_SECONDS, rate

        client = testbed.inside(testbed.plan.host_of(CLIENT).name)
        for measure in TARGETS:
            rate(client, WARM_UP_SECONDS, ASKED[measure])
        say("result", testbed.profile.waf)
        for line in sys.stdin:
            say("result", rate(client, self.size.seconds, ASKED[line.strip()]))
        return EXIT_HOLDS
