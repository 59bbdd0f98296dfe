"""The measurement of ``audit``: the same audit as the command's."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from experiments.audit.evidence import AuditEvidence
from experiments.engine.run import Run
from testbed.audit.auditchecks import CHECKS
from testbed.audit.auditor import audited

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def measure(testbed: Testbed, run: Run) -> AuditEvidence:
    """Look at everything once."""
    began = monotonic()
    with run.phase("audit", len(CHECKS)) as progress:
        content = audited(testbed, CHECKS).as_dict()
        progress.advance(len(CHECKS))
    rows = {name: content[name] for name in ("findings", "unknown", "looked")}
    return AuditEvidence(**rows, took_s=round(monotonic() - began, 3))
