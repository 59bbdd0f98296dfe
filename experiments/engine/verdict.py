"""A verdict, and how it is composed of named checks. Pure.

    check -> CheckResult (does it hold? why?)        several findings -> one Verdict

False beats unknown beats true: one check that fails makes the claim fail, whatever else is unknown. So no
inconclusive probe can hide what another has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from topo.errors import EXIT_BROKEN, EXIT_FAILS, EXIT_HOLDS, EXIT_UNKNOWN

E = TypeVar("E")
# the worst first; an exit code that is not in it (interrupted, bad usage) is worse than all of them
WORST_FIRST = (EXIT_BROKEN, EXIT_FAILS, EXIT_UNKNOWN, EXIT_HOLDS)
SEVERITY = {False: 0, None: 1, True: 2}


@dataclass(frozen=True)
class Verdict:
    """``holds``: True, False, or None for unknown: an inconclusive probe proves neither."""

    holds: bool | None
    because: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def exit_code(self) -> int:
        return EXIT_UNKNOWN if self.holds is None else EXIT_HOLDS if self.holds else EXIT_FAILS


@dataclass(frozen=True)
class CheckResult:
    """The result of one check, with the numbers that it counted."""

    holds: bool | None
    because: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClaimCheck(Generic[E]):
    """One property of the evidence, by its name; ``look`` is pure."""

    name: str
    look: Callable[[E], CheckResult]

    def on(self, evidence: E) -> CheckResult:
        """A check that throws is unknown."""
        try:
            return self.look(evidence)
        except Exception as error:  # whatever evidence it chokes on
            return CheckResult(None, f"{self.name} cannot be checked: {type(error).__name__}: {error}")


def composed(checks: Iterable[ClaimCheck[E]], evidence: E, numbers: Mapping[str, Any] | None = None) -> Verdict:
    """The verdict of all checks: the worst one's ``holds`` and ``because``, the numbers of all.

    Of several equally bad ones the first listed speaks, so the list is ordered by importance; when all hold, that is
    the first one, which says what holds. ``numbers``: what is counted whatever the checks say.
    """
    findings = [check.on(evidence) for check in checks]
    worst = min(findings, key=lambda finding: SEVERITY[finding.holds])
    return Verdict(worst.holds, worst.because, {**(numbers or {}), **dict(_merged(findings))})


def _merged(findings: Iterable[CheckResult]) -> Iterator[tuple[str, Any]]:
    for finding in findings:
        yield from finding.numbers.items()


def all_of(*answers: bool | None) -> bool | None:
    """False when one is, else unknown when one is, else true."""
    return min(answers, key=SEVERITY.__getitem__, default=True)


def worst_exit(codes: Iterable[int]) -> int:
    """The exit code of several runs: broken beats fails beats unknown beats holds."""
    return min(codes, key=lambda code: WORST_FIRST.index(code) if code in WORST_FIRST else -1)
