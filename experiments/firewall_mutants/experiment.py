"""``firewall_mutants``: hundreds of wrong rules and flows on the real switches, one after the other. Is each noticed?

Each mutation is put on the switches, dumped from them and proved, probed with real packets, and undone. A proof that
misses a wrong flow, or probes that do, would say little about the right ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict
from experiments.firewall_mutants.evidence import MutantsEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class FirewallMutants(Experiment[MutantsEvidence]):
    """Put each mutant on the switches, ask both oracles, undo it; then count the surviving ones."""

    name = "firewall_mutants"
    claim = "every wrong rule or flow is caught"
    options = (Option("mutants", 200, "how many wrong rules and flows", least=1, most=5000),)
    evidence = MutantsEvidence

    def measure(self, testbed: Testbed, run: Run) -> MutantsEvidence:
        from experiments.firewall_mutants.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: MutantsEvidence) -> Verdict:
        from experiments.firewall_mutants.checks import judge

        return judge(evidence)

    def show(self, evidence: MutantsEvidence, verdict: Verdict) -> RenderableType:  # noqa: ARG002 - it is below
        from experiments.firewall_mutants.show import shown

        return shown(evidence)

    def page(self, evidence: MutantsEvidence) -> str:
        from experiments.firewall_mutants.show import page

        return page(evidence)
