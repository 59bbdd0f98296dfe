"""``tls_exposure``: a real visit with a canary in every place where a site has secrets, and a search of every packet.

A claim of absence is worth what its search is worth. So each capture must have lost nothing, each secret must have
been seen somewhere, and on each encrypted link the same search must find the secrets once the key log has opened it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.verdict import Verdict
from experiments.tls_exposure.evidence import ExposureEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class TlsExposure(Experiment[ExposureEvidence]):
    """Capture everything, make visits, search everything."""

    name = "tls_exposure"
    claim = "no secret is readable on any link"
    repeats = True
    evidence = ExposureEvidence

    def measure(self, testbed: Testbed, run: Run) -> ExposureEvidence:
        from experiments.tls_exposure.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: ExposureEvidence) -> Verdict:
        from experiments.tls_exposure.checks import judge

        return judge(evidence)

    def show(self, evidence: ExposureEvidence, verdict: Verdict) -> RenderableType:
        from experiments.tls_exposure.show import show

        return show(evidence, verdict)

    def page(self, evidence: ExposureEvidence) -> str:
        from experiments.tls_exposure.show import page

        return page(evidence)

    def plots(self, evidence: ExposureEvidence) -> Sequence[Plot]:
        from experiments.tls_exposure.show import plots

        return plots(evidence)
