"""The evidence of ``audit``: the findings, and the places that could not be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from experiments.engine.evidence import Evidence
from testbed.audit.finding import AuditReport, report


class FindingRow(TypedDict):
    """One finding, as ``testbed.audit.finding`` has it."""

    id: str
    severity: str
    where: str
    evidence: str
    remedy: str
    reference: str
    check: str


class UnknownRow(TypedDict):
    """A place that a check could not look at."""

    check: str
    where: str
    why: str


@dataclass(frozen=True, kw_only=True)
class AuditEvidence(Evidence):
    """``looked``: how many places each check has looked at; ``took_s``: how long all of it took."""

    findings: Sequence[FindingRow]
    unknown: Sequence[UnknownRow]
    looked: Mapping[str, int]
    took_s: float

    @property
    def report(self) -> AuditReport:
        return report({"findings": self.findings, "unknown": self.unknown, "looked": self.looked})
