"""``web_failover``: servers die in every way there is while visitors read and write. Does one of them notice?

Load runs all the time, at a fixed rate and at 80 % of what the site can answer; one fault after the other hits a
server at a random moment. Every request has a record, and the database says what was written, and how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.engine.base import Evidence, Experiment
from experiments.engine.options import Option
from experiments.engine.verdict import Verdict
from experiments.web_failover import show
from experiments.web_failover.checks import verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class WebFailover(Experiment[Evidence]):
    """One fault after the other under load; then the database's own rows."""

    name = "web_failover"
    claim = "no request fails when a server dies"
    timing = True
    repeats = True
    options = (
        Option("rate", 60, "requests per second of the load with a fixed rate", least=20, most=1000),
        Option("faults", "all", "which kinds, separated by commas"),
    )

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        from experiments.web_failover import measure

        return measure.measure(testbed, run)

    def judge(self, evidence: Evidence) -> Verdict:
        return verdict(evidence)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:
        return show.table(evidence, verdict.numbers) if "requests" in evidence else "nothing was measured to its end"

    def page(self, evidence: Evidence) -> str:
        return show.html(evidence, self.judge(evidence).numbers)

    def plots(self, evidence: Evidence) -> Sequence[Plot]:
        return show.plots(evidence) if "requests" in evidence else ()
