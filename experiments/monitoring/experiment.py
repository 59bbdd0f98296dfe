"""``monitoring``: requests, processor time, faults and log lines - and what the monitoring tool says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict
from experiments.monitoring.evidence import MonitoringEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

SPOILT = ("nothing", "exporter", "shipper", "rule")


class Monitoring(Experiment[MonitoringEvidence]):
    """A while without a fault, then one fault after the other, then the monitoring host is away; all under load."""

    name = "monitoring"
    claim = "the monitoring tells the truth in time"
    timing = True
    options = (
        Option("rate", 60, "requests per second", least=20, most=500),
        Option("clean", 20.0, "seconds without a fault", least=10, most=3600),
        Option("away", 5.0, "seconds that the monitoring host is away, each time", least=3, most=60),
        Option("spoil", "nothing", "what of the monitoring is made to lie first, to see that found out", values=SPOILT),
    )
    evidence = MonitoringEvidence

    def measure(self, testbed: Testbed, run: Run) -> MonitoringEvidence:
        from experiments.monitoring.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: MonitoringEvidence) -> Verdict:
        from experiments.monitoring.checks import judge

        return judge(evidence)

    def show(self, evidence: MonitoringEvidence, verdict: Verdict) -> RenderableType:
        from experiments.monitoring.show import show

        return show(evidence, verdict)

    def page(self, evidence: MonitoringEvidence) -> str:
        from experiments.monitoring.show import page

        return page(evidence)

    def plots(self, evidence: MonitoringEvidence) -> Sequence[Plot]:
        from experiments.monitoring.show import plots

        return plots(evidence)
