"""The verdict on ``db_failover``: accounts of each round, gaps by scenario, named checks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from experiments.db_failover.accounting import PARTS, Account, Gap, Writes, account, gap, parts
from experiments.db_failover.evidence import DbFailoverEvidence, FinalLook, RoundRow, numbers, spans, unpacked
from experiments.engine.numbers import distribution, quantile
from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from testbed.faults.kind import CRASH, PLANNED, SILENT
from testbed.faults.scenarios import DATABASE, MANAGED

#: how much of the time before a fault the answers show (s)
BEFORE = 1.0
#: it must show this many answers, or it is not known when they stopped
FEWEST_ANSWERS = 5
#: what is promised with --db semisync (ms), by symptom: (which quantile, at most)
TARGETS = {CRASH: ((0.5, 50.0), (0.99, 150.0)), SILENT: ((0.99, 500.0),), PLANNED: ((1.0, 20.0),)}
SYMPTOMS = {scenario.name: scenario.symptom for scenario in DATABASE}
PATIENT = {scenario.name for scenario in DATABASE if scenario.after_healing}


@dataclass(frozen=True)
class JudgedRound:
    """One round, read."""

    round: RoundRow
    account: Account
    window: float
    design: str

    @property
    def name(self) -> str:
        return f"round {self.round['number']} ({self.round['scenario']} of {self.round['primary']})"

    @property
    def scenario(self) -> str:
        return str(self.round["scenario"])

    def answers(self, way: str = "endpoint") -> list[float]:
        """When clients were told that a write is done (s since 1970), from `BEFORE` seconds before the fault on."""
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
        return float(self.round["settled" if self.scenario in PATIENT else "healing"])

    @property
    def parts(self) -> dict[str, float]:
        """The parts of the gap, in ms; none when there is no gap, or no manager that could tell."""
        if self.gap is None or self.design not in MANAGED:
            return {}
        return parts(self.gap, self.round["began"], self.round["events"], lossless=self.design == "semisync")

    @property
    def back(self) -> bool:
        """Writes were answered again, for good, before the fault was healed; after two faults at once, soon after."""
        return self.gap is not None and self.gap.ended <= self._until + (
            self.window if self.scenario in PATIENT else 0.0
        )

    @property
    def errors(self) -> int:
        """Writes that clients were not promised."""
        return self.account.failed + self.account.unknown_done + self.account.unknown_not_done

    @property
    def inconclusive(self) -> str | None:
        """The reason why this round proves nothing; None when it proves something."""
        before = [answer for answer in self.answers() if answer < self.round["began"]]
        if len(before) < FEWEST_ANSWERS:
            return f"only {len(before)} writes were acknowledged just before"
        if not self.round["greeted"]:
            return "the primary did not greet before the fault either"
        if self.round["proof"] is None:
            return "the fault was not seen to be in force"
        return "; ".join(self.account.unread) or None


def judged_rounds(evidence: DbFailoverEvidence) -> list[JudgedRound]:
    """Every round, with its account."""
    design, window = evidence.db, evidence.window
    return [JudgedRound(row, accounted(design, row), window, design) for row in evidence.rounds]


def accounted(design: str, at: Mapping[str, Any]) -> Account:
    """The account of one round, or of the end."""
    promotions = [
        (str(event.get("primary")), float(event["time"])) for event in at["events"] if event["event"] == "promoted"
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
    """The node whose table counts: the last that acknowledged, among those that take writes."""
    writable = [name for name, node in nodes.items() if node["writable"]]
    return next((owner[0] for owner in reversed(owners) if owner[0] in writable), writable[0] if writable else None)


def whole(evidence: DbFailoverEvidence, look: FinalLook) -> Account:
    """The account of all rounds together, by the last look at every node's whole table."""
    told: dict[str, dict[str, set[int]]] = {}
    for row in evidence.rounds:
        for writer, outcomes in row["writes"].items():
            known = told.setdefault(writer, {outcome: set() for outcome in outcomes})
            for outcome, text in outcomes.items():
                known[outcome] |= numbers(text)
    writes = {writer: {outcome: spans(of) for outcome, of in known.items()} for writer, known in told.items()}
    last = {writer: max(set().union(*known.values()), default=0) for writer, known in told.items()}
    final = {"writes": writes, "owners": [], "events": [], "nodes": look["nodes"]}
    rounds = accounted(evidence.db, final)
    # the writers went on after the last round
    return replace(rounds, invented=frozenset(write for write in rounds.invented if write[1] <= last.get(write[0], 0)))


# --- checks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasuredRounds:
    """The evidence, read."""

    evidence: DbFailoverEvidence
    rounds: Sequence[JudgedRound]
    last: Account
    acknowledged: int


def judge(evidence: DbFailoverEvidence) -> Verdict:
    """False for anything lost, doubled, torn apart or not back; None when something could not be seen; else True."""
    rounds = judged_rounds(evidence)
    if not rounds or evidence.final is None:
        return Verdict(None, evidence.stopped or "no round was finished", {})
    last = whole(evidence, evidence.final)
    figures = _numbers(rounds, last)
    return composed(CHECKS, MeasuredRounds(evidence, rounds, last, figures["acknowledged"]), figures)


def _none_of(what: str, of: str) -> Callable[[MeasuredRounds], CheckResult]:
    """No account of a round, nor the last one, has anything of this."""

    def look(measured: MeasuredRounds) -> CheckResult:
        accounts = [(judged.name, judged.account) for judged in measured.rounds] + [("at the end", measured.last)]
        return _first(
            (f"{name}: {len(items)} {what}: {_some(items)}" for name, at in accounts if (items := getattr(at, of))),
            f"{len(measured.rounds)} faults, {measured.acknowledged} acknowledged writes: none lost, and writes came "
            "back each time",
        )

    return look


def _writes_came_back(measured: MeasuredRounds) -> CheckResult:
    away = [judged for judged in measured.rounds if not judged.back and judged.inconclusive is None]
    said = (f"writes did not come back within {judged.window:g} s: {judged.name}" for judged in away)
    return _first(said, "writes came back each time")


def _healed(measured: MeasuredRounds) -> CheckResult:
    problems = [(judged.name, judged.round["problem"]) for judged in measured.rounds]
    return _first((f"{name}: not healed: {problem}" for name, problem in problems if problem), "all nodes came back")


def _first(findings: Iterable[str], otherwise: str) -> CheckResult:
    """False with the first finding, and how many more there are; else true."""
    texts = list(findings)
    if not texts:
        return CheckResult(True, otherwise)
    return CheckResult(False, texts[0] + (f" (and {len(texts) - 1} more)" if texts[1:] else ""))


def _all_seen(measured: MeasuredRounds) -> CheckResult:
    """Every round of the schedule was finished, and shows what it shall show."""
    evidence, rounds = measured.evidence, measured.rounds
    if evidence.stopped:
        return CheckResult(None, evidence.stopped)
    if len(rounds) < evidence.scheduled:
        return CheckResult(None, f"{len(rounds)} of {evidence.scheduled} rounds were finished")
    unseen = [f"{judged.name}: {judged.inconclusive}" for judged in rounds if judged.inconclusive]
    unread = [f"at the end: {problem}" for problem in measured.last.unread]
    return CheckResult(None, [*unseen, *unread][0]) if unseen or unread else CheckResult(True, "every round was seen")


#: the gravest first
CHECKS = (
    ClaimCheck("no acknowledged write is lost", _none_of("acknowledged writes lost", "lost")),
    ClaimCheck("no write is there twice", _none_of("writes there more than once", "duplicated")),
    ClaimCheck("there is one primary", _none_of("signs of two primaries", "two_primaries")),
    ClaimCheck("what failed is not there", _none_of("writes there that had failed", "failed_but_there")),
    ClaimCheck("no row is invented", _none_of("rows that nobody wrote", "invented")),
    ClaimCheck("all nodes are equal", _none_of("nodes that differ", "diverged")),
    ClaimCheck("no node has its own transactions", _none_of("nodes with transactions of their own", "errant")),
    ClaimCheck("writes come back", _writes_came_back),
    ClaimCheck("all nodes come back", _healed),
    ClaimCheck("everything was seen", _all_seen),
)


def _some(listed: Iterable[Any]) -> str:
    """The first few, as text."""
    shown = sorted(item if isinstance(item, str) else f"{item[0]} {item[1]}" for item in listed)
    return ", ".join(shown[:3]) + (", ..." if shown[3:] else "")


def _numbers(rounds: Sequence[JudgedRound], last: Account) -> dict[str, Any]:
    """For result.json: counts, distributions (ms), targets."""
    lost: Writes = last.lost.union(*(judged.account.lost for judged in rounds))
    twice: Writes = last.duplicated.union(*(judged.account.duplicated for judged in rounds))
    names = sorted({judged.scenario for judged in rounds})
    scenarios = {name: [judged for judged in rounds if judged.scenario == name] for name in names}
    figures: dict[str, Any] = {
        "faults": len(rounds),
        "failures": sum(SYMPTOMS[judged.scenario] != PLANNED for judged in rounds),
        "acknowledged": sum(judged.account.acknowledged for judged in rounds),
        "lost": len(lost),
        "duplicated": len(twice),
        "two_primaries": sum(bool(judged.account.two_primaries) for judged in rounds),
        "diverged": sum(bool(judged.account.diverged or judged.account.errant) for judged in rounds),
        "failed": sum(judged.account.failed for judged in rounds),
        "unknown": sum(judged.account.unknown_done + judged.account.unknown_not_done for judged in rounds),
        "unknown_but_done": sum(judged.account.unknown_done for judged in rounds),
        "not_back": sum(not judged.back for judged in rounds),
    }
    figures |= {f"gap_ms_{name}": _gaps(group) for name, group in scenarios.items()}
    figures |= {f"site_gap_ms_{name}": _gaps(group, "site_gap") for name, group in scenarios.items()}
    crashes = [judged for judged in rounds if SYMPTOMS[judged.scenario] == CRASH and judged.parts]
    if crashes:
        figures |= {f"crash_{part}_ms": distribution([judged.parts[part] for judged in crashes]) for part in PARTS}
    figures["rejoin_s"] = distribution([judged.round["settled"] - judged.round["healing"] for judged in rounds])
    figures["rejoin_gap_ms"] = _gaps(rounds, "rejoin_gap")
    if planned := [judged for judged in rounds if SYMPTOMS[judged.scenario] == PLANNED]:
        figures["planned_errors"] = sum(judged.errors for judged in planned)
    return figures | _targets(rounds)


def _gaps(rounds: Iterable[JudgedRound], which: str = "gap") -> dict[str, Any]:
    return distribution([value.ms for judged in rounds if (value := getattr(judged, which)) is not None])


def _targets(rounds: Sequence[JudgedRound]) -> dict[str, bool]:
    """The targets, met or not; only those that something was measured for."""
    met: dict[str, bool] = {}
    for symptom, bounds in TARGETS.items():
        group = [judged.gap for judged in rounds if SYMPTOMS[judged.scenario] == symptom]
        gaps = sorted(gap.ms if gap else float("inf") for gap in group)
        for share, most in bounds if gaps else ():
            label = "all" if share == 1.0 else f"p{share * 100:g}"
            met[f"target_{symptom}_{label}_within_{most:g}_ms"] = quantile(gaps, share) <= most
    return met
