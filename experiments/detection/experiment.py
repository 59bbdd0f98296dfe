"""``detection``: attacks of every kind beside honest visitors - who is seen, how soon, and who is blocked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.detection.evidence import DetectionEvidence
from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

SPOILT = ("nothing", "deaf", "eager", "late")


class DetectionExperiment(Experiment[DetectionEvidence]):
    """Honest visitors alone; then each attack beside them, with the detector and without; then a million forgeries."""

    name = "detection"
    claim = "every attack is seen and stopped, and nobody honest is"
    timing = True
    blocks = True
    options = (
        Option("requests", 100_000, "requests of honest visitors before the first attack", least=50, most=10**8),
        Option("forged", 1_000_000, "packets that the attacker sends as if the client did", least=1000, most=10**9),
        Option("rate", 60, "honest requests per second", least=5, most=1000),
        Option(
            "attacks",
            "all",
            "all, quick (without what takes minutes), or words (a,b) of their names",
        ),
        Option("spoil", "nothing", "what is wrong with the detector, to see that found out", values=SPOILT),
    )
    evidence = DetectionEvidence

    def measure(self, testbed: Testbed, run: Run) -> DetectionEvidence:
        from experiments.detection.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: DetectionEvidence) -> Verdict:
        from experiments.detection.checks import judge

        return judge(evidence)

    def show(self, evidence: DetectionEvidence, verdict: Verdict) -> RenderableType:
        from experiments.detection.show import show

        return show(evidence, verdict)

    def page(self, evidence: DetectionEvidence) -> str:
        from experiments.detection.show import page

        return page(evidence)

    def plots(self, evidence: DetectionEvidence) -> Sequence[Plot]:
        from experiments.detection.show import plots

        return plots(evidence)
