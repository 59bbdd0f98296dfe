"""The judgement of ``audit``: no serious finding, and nothing that could not be looked at."""

from __future__ import annotations

from collections import Counter

from experiments.audit.evidence import AuditEvidence
from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed


def _nothing_serious(evidence: AuditEvidence) -> CheckResult:
    report = evidence.report
    return CheckResult(report.holds is not False, report.because)


def _everything_known(evidence: AuditEvidence) -> CheckResult:
    report = evidence.report
    known = not report.unknown and all(report.looked.values()) and bool(report.looked)
    return CheckResult(known or None, report.because)


CHECKS = (ClaimCheck("nothing serious", _nothing_serious), ClaimCheck("everything known", _everything_known))


def judge(evidence: AuditEvidence) -> Verdict:
    """It fails with a serious finding, whatever else is unknown; a place that is unknown has not passed."""
    report = evidence.report
    numbers = {
        **report.counts,
        "unknown": len(report.unknown),
        "places": sum(report.looked.values()),
        "took_s": evidence.took_s,
        # by kind, so that `compare` shows what a remedy has ended
        "findings": dict(sorted(Counter(finding.id for finding in report.findings).items())),
    }
    return composed(CHECKS, evidence, numbers)
