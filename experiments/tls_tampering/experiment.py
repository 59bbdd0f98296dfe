"""``tls_tampering``: an attacker who holds the switch in front of a server rewrites its pages. Is it noticed?

Visitors ask for the home page all the time. Then the balancer's connections to srv1 are sent to a machine in the middle
that adds a line to each page, and after a while to srv1 again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict
from experiments.tls_tampering.evidence import TamperingEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class TlsTampering(Experiment[TamperingEvidence]):
    """Ask, redirect, ask on, heal, ask on; then look whose pages had the line."""

    name = "tls_tampering"
    claim = "nobody between the balancer and a server can change an answer unnoticed"
    options = (
        Option("rate", 20, "requests per second", least=1, most=200),
        Option("seconds", 8, "how long the machine in the middle is there", least=1, most=600),
    )
    evidence = TamperingEvidence

    def measure(self, testbed: Testbed, run: Run) -> TamperingEvidence:
        from experiments.tls_tampering.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: TamperingEvidence) -> Verdict:
        from experiments.tls_tampering.checks import judge

        return judge(evidence)

    def show(self, evidence: TamperingEvidence, verdict: Verdict) -> RenderableType:
        from experiments.tls_tampering.show import show

        return show(evidence, verdict)

    def page(self, evidence: TamperingEvidence) -> str:
        from experiments.tls_tampering.show import page

        return page(evidence)

    def plots(self, evidence: TamperingEvidence) -> Sequence[Plot]:
        from experiments.tls_tampering.show import plots

        return plots(evidence)
