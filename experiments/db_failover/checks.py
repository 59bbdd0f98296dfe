"""What the rounds show: accounts of each, gaps by kind, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from experiments.db_failover.accounting import Account, Writes, account
from experiments.db_failover.evidence import numbers, spans, unpacked
from experiments.db_failover.gap import PARTS, Gap, gap, parts
from experiments.engine.base import Evidence
from experiments.engine.distribution import distribution, quantile
from experiments.engine.verdict import Verdict
from testbed.faults.kind import CRASH, PLANNED, SILENT
from testbed.faults.scenarios import DATABASE, MANAGED

#: how much of the time before a fault the answers show (s)
BEFORE = 1.0
#: it must show this many answers, or nobody can say when they stopped
FEWEST_ANSWERS = 5
#: what is promised with --db semisync (ms), by symptom: (which quantile, at most)
TARGETS = {CRASH: ((0.5, 50.0), (0.99, 150.0)), SILENT: ((0.99, 500.0),), PLANNED: ((1.0, 20.0),)}
SYMPTOMS = {scenario.name: scenario.symptom for scenario in DATABASE}
PATIENT = {scenario.name for scenario in DATABASE if scenario.after_healing}


@dataclass(frozen=True)
class Finding:
    """One round, read."""

    round: Mapping[str, Any]
    account: Account
    window: float
    design: str

    @property
    def name(self) -> str:
        return f"round {self.round['number']} ({self.round['scenario']} of {self.round['primary']})"

    @property
    def kind(self) -> str:
        return str(self.round["scenario"])

    def answers(self, way: str = "endpoint") -> list[float]:
        """When clients were told that a write is done (s since 1970), from a moment before the fault on."""
        return unpacked(self.round["answers"][way], self.round["began"] - BEFORE)

    @cached_property
    def gap(self) -> Gap | None:
        """At the endpoint, from the fault on, until healing begins; what healing costs is another question."""
        return gap(self.answers(), self.round["began"], self._until)

    @cached_property
    def site_gap(self) -> Gap | None:
        return gap(self.answers("site"), self.round["began"], self._until)

    @cached_property
    def rejoin_gap(self) -> Gap | None:
        return gap(self.answers(), self.round["healing"], self.round["settled"])

    @property
    def _until(self) -> float:
        return float(self.round["settled" if self.kind in PATIENT else "healing"])

    @property
    def parts(self) -> dict[str, float]:
        """What the gap went into, in ms; nothing when there is no gap, or no manager who could tell."""
        if self.gap is None or self.design not in MANAGED:
            return {}
        return parts(self.gap, self.round["began"], self.round["events"], lossless=self.design == "semisync")

    @property
    def back(self) -> bool:
        """Writes were answered again, for good, before the fault was healed; after two faults at once, soon after."""
        return self.gap is not None and self.gap.ended <= self._until + (self.window if self.kind in PATIENT else 0.0)

    @property
    def errors(self) -> int:
        """Writes that clients were not promised."""
        return self.account.failed + self.account.unknown_done + self.account.unknown_not_done

    @property
    def blind(self) -> str | None:
        """Why this round proves nothing; None when it does."""
        before = [each for each in self.answers() if each < self.round["began"]]
        if len(before) < FEWEST_ANSWERS:
            return f"only {len(before)} writes were acknowledged just before"
        if not self.round["greeted"]:
            return "the primary did not greet before the fault either"
        if self.round["proof"] is None:
            return "the fault was not seen to be in force"
        return "; ".join(self.account.blind) or None


def findings(evidence: Evidence) -> list[Finding]:
    """Every round, with its account."""
    design, window = evidence["db"], evidence["window"]
    return [Finding(each, accounted(design, each), window, design) for each in evidence["rounds"]]


def accounted(design: str, at: Mapping[str, Any]) -> Account:
    """The account of one round, or of the end."""
    promotions = [
        (str(each.get("primary")), float(each["time"])) for each in at["events"] if each["event"] == "promoted"
    ]
    return account(
        at["writes"],
        at["owners"],
        at["nodes"],
        _primary(at["nodes"], at["owners"]),
        one_writer=design != "galera",
        handed_over=promotions,
    )


def _primary(nodes: Mapping[str, Mapping[str, Any]], owners: Sequence[Sequence[Any]]) -> str | None:
    """Whose table counts: who acknowledged last, among those that take writes."""
    writable = [name for name, node in nodes.items() if node["writable"]]
    return next((owner[0] for owner in reversed(owners) if owner[0] in writable), writable[0] if writable else None)


def whole(evidence: Evidence) -> Account:
    """The account of all rounds together, by the last look at every node's whole table."""
    told: dict[str, dict[str, set[int]]] = {}
    for each in evidence["rounds"]:
        for writer, outcomes in each["writes"].items():
            known = told.setdefault(writer, {outcome: set() for outcome in outcomes})
            for outcome, text in outcomes.items():
                known[outcome] |= numbers(text)
    writes = {writer: {outcome: spans(of) for outcome, of in known.items()} for writer, known in told.items()}
    last = {writer: max(set().union(*known.values()), default=0) for writer, known in told.items()}
    final = {"writes": writes, "owners": [], "events": [], "nodes": evidence["final"]["nodes"]}
    found = accounted(evidence["db"], final)
    # the writers went on after the last round
    return replace(found, invented=frozenset(write for write in found.invented if write[1] <= last.get(write[0], 0)))


def verdict(evidence: Evidence) -> Verdict:
    """False for anything lost, doubled, torn apart or not back; None when something could not be seen; else True."""
    found = findings(evidence)
    if not found or evidence["final"] is None:
        return Verdict(None, evidence.get("stopped") or "no round was finished", {})
    last = whole(evidence)
    figures = _numbers(found, last)
    wrong, dark = list(_wrong(found, last)), list(_dark(evidence, found, last))
    if wrong:
        return Verdict(False, wrong[0] + (f" (and {len(wrong) - 1} more findings)" if wrong[1:] else ""), figures)
    if dark:
        return Verdict(None, dark[0], figures)
    said = (
        f"{len(found)} faults, {figures['acknowledged']} acknowledged writes: none lost, and writes came back each time"
    )
    return Verdict(True, said, figures)


def _wrong(found: Sequence[Finding], last: Account) -> Iterable[str]:
    """Everything that contradicts the claim, the gravest first."""
    accounts = [(each.name, each.account) for each in found] + [("at the end", last)]
    for what, of in BROKEN.items():
        for name, at in accounts:
            if listed := getattr(at, of):
                yield f"{name}: {len(listed)} {what}: {_some(listed)}"
    for each in found:
        if not each.back and each.blind is None:
            yield f"writes did not come back within {each.window:g} s: {each.name}"
        if each.round["problem"] is not None:
            yield f"{each.name}: not healed: {each.round['problem']}"


BROKEN = {
    "acknowledged writes lost": "lost",
    "writes there more than once": "duplicated",
    "signs of two primaries": "two_primaries",
    "writes there that had failed": "failed_but_there",
    "rows that nobody wrote": "invented",
    "nodes that differ": "diverged",
    "nodes with transactions of their own": "errant",
}


def _some(listed: Iterable[Any]) -> str:
    """The first few, as text."""
    shown = sorted(each if isinstance(each, str) else f"{each[0]} {each[1]}" for each in listed)
    return ", ".join(shown[:3]) + (", ..." if shown[3:] else "")


def _dark(evidence: Evidence, found: Sequence[Finding], last: Account) -> Iterable[str]:
    if evidence["stopped"]:
        yield str(evidence["stopped"])
    if len(found) < evidence["scheduled"]:
        yield f"{len(found)} of {evidence['scheduled']} rounds were finished"
    yield from (f"{each.name}: {each.blind}" for each in found if each.blind)
    yield from (f"at the end: {each}" for each in last.blind)


def _numbers(found: Sequence[Finding], last: Account) -> dict[str, Any]:
    """For result.json: counts, distributions (ms), targets."""
    lost: Writes = last.lost.union(*(each.account.lost for each in found))
    twice: Writes = last.duplicated.union(*(each.account.duplicated for each in found))
    kinds = sorted({each.kind for each in found})
    figures: dict[str, Any] = {
        "faults": len(found),
        "failures": sum(SYMPTOMS[each.kind] != PLANNED for each in found),
        "acknowledged": sum(each.account.acknowledged for each in found),
        "lost": len(lost),
        "duplicated": len(twice),
        "two_primaries": sum(bool(each.account.two_primaries) for each in found),
        "diverged": sum(bool(each.account.diverged or each.account.errant) for each in found),
        "failed": sum(each.account.failed for each in found),
        "unknown": sum(each.account.unknown_done + each.account.unknown_not_done for each in found),
        "unknown_but_done": sum(each.account.unknown_done for each in found),
        "not_back": sum(not each.back for each in found),
    }
    figures |= {f"gap_ms_{kind}": _gaps([each for each in found if each.kind == kind]) for kind in kinds}
    figures |= {
        f"site_gap_ms_{kind}": _gaps([each for each in found if each.kind == kind], "site_gap") for kind in kinds
    }
    crashes = [each for each in found if SYMPTOMS[each.kind] == CRASH and each.parts]
    figures |= {f"crash_{part}_ms": distribution([each.parts[part] for each in crashes]) for part in PARTS if crashes}
    figures["rejoin_s"] = distribution([each.round["settled"] - each.round["healing"] for each in found])
    figures["rejoin_gap_ms"] = _gaps(found, "rejoin_gap")
    if planned := [each for each in found if SYMPTOMS[each.kind] == PLANNED]:
        figures["planned_errors"] = sum(each.errors for each in planned)
    return figures | _targets(found)


def _gaps(found: Iterable[Finding], which: str = "gap") -> dict[str, Any]:
    return distribution([value.ms for each in found if (value := getattr(each, which)) is not None])


def _targets(found: Sequence[Finding]) -> dict[str, bool]:
    """Which targets are met; only those that something was measured for."""
    met: dict[str, bool] = {}
    for symptom, bounds in TARGETS.items():
        gaps = sorted(each.gap.ms if each.gap else float("inf") for each in found if SYMPTOMS[each.kind] == symptom)
        for share, most in bounds if gaps else ():
            label = "all" if share == 1.0 else f"p{share * 100:g}"
            met[f"target_{symptom}_{label}_within_{most:g}_ms"] = quantile(gaps, share) <= most
    return met
