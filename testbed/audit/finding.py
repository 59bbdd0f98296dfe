"""Findings of an audit: each with its severity, its evidence and its remedy; and whatever could not be looked at.

high     somebody on the network, or any user of a host, gets at data or takes control
medium   one barrier is missing: with one more failure, of a link, a host or a daemon, it is as bad as that
low      short of good practice, with more than one barrier left
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LOW, MEDIUM, HIGH = SEVERITIES = ("low", "medium", "high")


@dataclass(frozen=True)
class Finding:
    """``remedy``: a flag or a file; ``reference``: the rule of the field that says so; ``check``: whose it is."""

    id: str
    severity: str
    where: str
    evidence: str
    remedy: str
    reference: str
    check: str = ""

    @property
    def serious(self) -> bool:
        """True from ``medium`` on: the claim does not hold with it."""
        return SEVERITIES.index(self.severity) >= SEVERITIES.index(MEDIUM)


@dataclass(frozen=True)
class Unknown:
    """A place that a check could not look at: nothing is known of it, so it has not passed."""

    check: str
    where: str
    why: str


@dataclass(frozen=True)
class AuditReport:
    """``looked``: how many places each check has looked at."""

    findings: Sequence[Finding]
    unknown: Sequence[Unknown]
    looked: Mapping[str, int]

    @property
    def holds(self) -> bool | None:
        """False with a serious finding, else None with a place that is unknown, or nothing looked at."""
        if any(finding.serious for finding in self.findings):
            return False
        return None if self.unknown or not any(self.looked.values()) else True

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each severity, the worst first."""
        counted = Counter(finding.severity for finding in self.findings)
        return {severity: counted[severity] for severity in reversed(SEVERITIES)}

    @property
    def because(self) -> str:
        """The verdict's reason, in words."""
        serious = [finding for finding in self.findings if finding.serious]
        if serious:
            ids = list(dict.fromkeys(finding.id for finding in serious))
            return f"{len(serious)} findings of severity medium or higher: {', '.join(ids)}"
        if self.unknown:
            first = self.unknown[0]
            return f"{len(self.unknown)} places are unknown; the first: {first.check} of {first.where}: {first.why}"
        if not any(self.looked.values()):
            return "nothing was looked at"
        places = sum(self.looked.values())
        return f"{len(self.looked)} checks of {places} places found nothing of severity medium or higher"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds, "because": self.because}


def report(content: Mapping[str, Any]) -> AuditReport:
    """The report that ``as_dict`` has written."""
    return AuditReport(
        [Finding(**row) for row in content["findings"]],
        [Unknown(**row) for row in content["unknown"]],
        content["looked"],
    )
