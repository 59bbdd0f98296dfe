"""``firewall_matrix``: which host reaches which? Four oracles are asked about every pair and every port, and compared.

The policy itself; a proof over the flows dumped from the switches; Open vSwitch's own trace; and packets, sent on one
host's link and looked for on the other's. What a firewall stops counts as stopped only where its own flow counted it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict
from experiments.firewall_matrix.evidence import ALL, MatrixEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class FirewallMatrix(Experiment[MatrixEvidence]):
    """Ask every oracle, compare their answers."""

    name = "firewall_matrix"
    claim = "exactly what the policy allows gets through, for every pair of hosts"
    options = (
        Option("pairs", ALL, "which pairs of hosts, zones or groups: FROM:TO,FROM:TO,..."),
        Option("ports", ALL, "which TCP and UDP ports: 22,80,3000-3100"),
    )
    evidence = MatrixEvidence

    def measure(self, testbed: Testbed, run: Run) -> MatrixEvidence:
        from experiments.firewall_matrix.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: MatrixEvidence) -> Verdict:
        from experiments.firewall_matrix.checks import judge

        return judge(evidence)

    def show(self, evidence: MatrixEvidence, verdict: Verdict) -> RenderableType:  # noqa: ARG002 - shown below it anyway
        from experiments.firewall_matrix.show import shown

        return shown(evidence)

    def page(self, evidence: MatrixEvidence) -> str:
        from experiments.firewall_matrix.show import page

        return page(evidence)

    def plots(self, evidence: MatrixEvidence) -> Sequence[Plot]:
        from experiments.firewall_matrix.show import plots

        return plots(evidence)
