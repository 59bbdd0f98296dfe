"""``audit`` as it is shown: every finding with its remedy, on the terminal and in report.html."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.audit.evidence import AuditEvidence
from experiments.engine.report import TEMPLATES
from experiments.engine.verdict import Verdict
from testbed.audit.auditpage import lines

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(evidence: AuditEvidence, verdict: Verdict) -> RenderableType:  # noqa: ARG001 - the findings say it all
    """The findings, the worst first, and the places that are unknown."""
    return "\n".join(lines(evidence.report))


def page(evidence: AuditEvidence) -> str:
    """The same as tables."""
    return TEMPLATES.get_template("audit.html.j2").render(report=evidence.report)
