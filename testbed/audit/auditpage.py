"""A report as a person reads it, and as CI servers do (JUnit XML: a test case for each check)."""

from __future__ import annotations

import re

from junitparser import Error, Failure
from junitparser.xunit2 import TestCase, TestSuite

from testbed.audit.auditchecks import CHECKS
from testbed.audit.finding import AuditReport, Finding

WORDS = {True: "holds", False: "fails", None: "unknown"}
ILLEGAL = re.compile("[^\t\n\r -\x7e\x80-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def shown(report: AuditReport) -> str:
    """Each finding with its remedy, each unknown place, and the verdict."""
    return "\n".join([*lines(report), f"{WORDS[report.holds]}: {report.because}"])


def lines(report: AuditReport) -> list[str]:
    """All but the verdict."""
    found = [line for finding in report.findings for line in _finding(finding)]
    unknown = [f"unknown  {place.check} of {place.where}: {place.why}" for place in report.unknown]
    counts = ", ".join(f"{count} {severity}" for severity, count in report.counts.items())
    return [*found, *unknown, f"findings: {counts}"]


def _finding(finding: Finding) -> tuple[str, str]:
    head = f"{finding.severity:7}  {finding.id} at {finding.where}: {finding.evidence}"
    return head, f"         remedy: {finding.remedy} ({finding.reference})"


def junit(report: AuditReport) -> str:
    """One test case for each check: a serious finding is a failure, a place that is unknown an error."""
    suite = TestSuite("audit")  # type: ignore[no-untyped-call]
    suite.hostname = "localhost"
    for severity, count in report.counts.items():
        suite.add_property(severity, str(count))
    suite.add_testcases([_case(report, check.name) for check in CHECKS])
    text: bytes = suite.tostring()  # type: ignore[no-untyped-call]
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + text.decode()


def _case(report: AuditReport, name: str) -> TestCase:
    case = TestCase(name, "audit")
    serious = [finding for finding in report.findings if finding.check == name and finding.serious]
    unknown = [place for place in report.unknown if place.check == name]
    if serious:
        case.result = [Failure(_legal(", ".join(dict.fromkeys(finding.id for finding in serious))), "fails")]
        case.result[0].text = _legal("\n".join(line for finding in serious for line in _finding(finding)))
    elif unknown:
        case.result = [Error(_legal(unknown[0].why), "unknown")]
        case.result[0].text = _legal("\n".join(f"{place.where}: {place.why}" for place in unknown))
    return case


def _legal(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return ILLEGAL.sub("?", text)
