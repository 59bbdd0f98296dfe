"""``journey``: one visit to https://www.foobar.com, followed through every part of the infrastructure.

The write-up (seed 003) tells a request's way in 13 steps. Here each step is looked for in packets of every link, in log
lines and in the SQL the databases were sent. A step that was not seen is unknown, never assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.verdict import Verdict
from experiments.journey.evidence import JourneyEvidence

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class Journey(Experiment[JourneyEvidence]):
    """Capture everything, make one visit, then read what was seen."""

    name = "journey"
    claim = "a visit takes the 13 steps of the write-up, each seen in packets, logs or SQL"
    evidence = JourneyEvidence

    def measure(self, testbed: Testbed, run: Run) -> JourneyEvidence:
        from experiments.journey.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: JourneyEvidence) -> Verdict:
        from experiments.journey.checks import judge

        return judge(evidence)

    def show(self, evidence: JourneyEvidence, verdict: Verdict) -> RenderableType:
        from experiments.journey.show import show

        return show(evidence, verdict)

    def page(self, evidence: JourneyEvidence) -> str:
        from experiments.journey.show import page

        return page(evidence)


def once(testbed: Testbed, runs: Path) -> int:
    """The testbed's main job: follow one visit; results go below ``runs``. Returns the verdict's exit code."""
    from experiments.engine import runner

    return runner.run_all([Journey()], testbed, runs)
