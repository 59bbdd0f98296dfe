"""``audit``: everything of the testbed that can be read is held against what good practice asks.

It looks from inside: listeners, accounts, files, processes, rules and logs as they are, not as they are meant. What
could not be looked at is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.audit.evidence import AuditEvidence
from experiments.engine.base import Experiment
from experiments.engine.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class Audit(Experiment[AuditEvidence]):
    """The audit of ``python -m topo.foobar audit``, kept as evidence, so that two profiles can be compared."""

    name = "audit"
    claim = "nothing of severity medium or higher is found"
    evidence = AuditEvidence

    def measure(self, testbed: Testbed, run: Run) -> AuditEvidence:
        from experiments.audit.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: AuditEvidence) -> Verdict:
        from experiments.audit.checks import judge

        return judge(evidence)

    def show(self, evidence: AuditEvidence, verdict: Verdict) -> RenderableType:
        from experiments.audit.show import show

        return show(evidence, verdict)

    def page(self, evidence: AuditEvidence) -> str:
        from experiments.audit.show import page

        return page(evidence)
