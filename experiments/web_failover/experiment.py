"""``web_failover``: servers die in every way there is while visitors read and write. Is it noticed by one of them?

Load runs all the time, at a fixed rate and at 80 % of what the site can answer; one fault after the other hits a
server at a random time. Every request has a record, and the database says what was written, and how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict
from experiments.web_failover.evidence import WebFailoverEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class WebFailover(Experiment[WebFailoverEvidence]):
    """One fault after the other under load; then the database's own rows."""

    name = "web_failover"
    claim = "no request fails when a server dies"
    timing = True
    repeats = True
    options = (
        Option("rate", 60, "requests per second of the load with a fixed rate", least=20, most=1000),
        Option("faults", "all", "which fault scenarios, separated by commas"),
    )
    evidence = WebFailoverEvidence

    def measure(self, testbed: Testbed, run: Run) -> WebFailoverEvidence:
        from experiments.web_failover.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: WebFailoverEvidence) -> Verdict:
        from experiments.web_failover.checks import judge

        return judge(evidence)

    def show(self, evidence: WebFailoverEvidence, verdict: Verdict) -> RenderableType:
        from experiments.web_failover.show import show

        return show(evidence, verdict)

    def page(self, evidence: WebFailoverEvidence) -> str:
        from experiments.web_failover.show import page

        return page(evidence)

    def plots(self, evidence: WebFailoverEvidence) -> Sequence[Plot]:
        from experiments.web_failover.show import plots

        return plots(evidence)
