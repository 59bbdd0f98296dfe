"""The verdict on ``web_failover``, and its numbers. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from experiments.engine.numbers import distribution, quantile
from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.instruments.load import Outcome, rows
from experiments.web_failover.evidence import StoredRows, WebFailoverEvidence
from experiments.web_failover.windows import SHOWN, Window, false_alarms, windows
from testbed.faults.kind import CRASH, SILENT
from testbed.faults.scenarios import WEB

#: ms that a fault may add to a request's latency: told as numbers, no part of the claim
TARGETS = {CRASH: 100.0, SILENT: 300.0}
SHARES = {"all": 1.0, "p99": 0.99, "p50": 0.5}


@dataclass(frozen=True)
class MeasuredFaults:
    """The evidence, with each fault's window and what was counted."""

    evidence: WebFailoverEvidence
    requests: Sequence[Outcome]
    faults: Sequence[Window]
    numbers: Mapping[str, Any]


def judge(evidence: WebFailoverEvidence) -> Verdict:
    """False as soon as one request failed, was executed twice or got lost; unknown when a fault was not seen to act."""
    if evidence.requests is None or evidence.stored is None:
        return Verdict(None, "the requests or what the database holds of them is missing")
    requests = rows(evidence.requests)
    faults = account(evidence, requests)
    numbers = _numbers(evidence, evidence.stored, requests, faults)
    return composed(CHECKS, MeasuredFaults(evidence, requests, faults, numbers), numbers)


def account(evidence: WebFailoverEvidence, requests: Sequence[Outcome]) -> list[Window]:
    """Each fault with the requests that met it."""
    return windows(evidence.faults, evidence.timeline, requests, evidence.changes, evidence.patience_s)


# --- checks --------------------------------------------------------------------------------------------------------


def _nothing_failed(measured: MeasuredFaults) -> CheckResult:
    numbers = measured.numbers
    if numbers["failed"] or numbers["executed_twice"] or numbers["lost_acknowledged"]:
        return CheckResult(False, _what_failed(numbers, measured.faults))
    because = (
        f"none of {numbers['requests']:,} requests failed in {numbers['faults']:,} faults, none of "
        f"{numbers['posts']:,} posts was executed twice or lost"
    )
    return CheckResult(True, because)


def _schedule_finished(measured: MeasuredFaults) -> CheckResult:
    evidence = measured.evidence
    if evidence.stopped:
        return CheckResult(None, evidence.stopped)
    if len(measured.faults) < evidence.scheduled:
        return CheckResult(None, f"{len(measured.faults)} of {evidence.scheduled} faults were injected")
    if not measured.faults or not measured.requests:
        return CheckResult(None, "no request met a fault")
    return CheckResult(True, "every fault was injected")


def _faults_in_force(measured: MeasuredFaults) -> CheckResult:
    for window in measured.faults:
        if window.in_force is False:
            return CheckResult(None, f"{window.name}: the server went on answering, so the fault was not in force")
    for window in measured.faults:
        if window.in_force is None:
            return CheckResult(None, f"{window.name}: too few answers to see that the server was gone")
    return CheckResult(True, "every fault was seen to be in force")


def _outcomes_known(measured: MeasuredFaults) -> CheckResult:
    if count := _without_outcome(measured.requests, measured.evidence.first_numbers):
        return CheckResult(None, f"{count} requests without an outcome")
    return CheckResult(True, "every request has an outcome")


def _read_and_written(measured: MeasuredFaults) -> CheckResult:
    posts = measured.numbers["posts"]
    if not posts or posts == len(measured.requests):
        return CheckResult(None, f"nothing was {'read' if posts else 'written'}")
    return CheckResult(True, "pages were read and messages written")


CHECKS = (
    ClaimCheck("no request failed, was executed twice or got lost", _nothing_failed),
    ClaimCheck("the schedule was finished", _schedule_finished),
    ClaimCheck("every fault was in force", _faults_in_force),
    ClaimCheck("every request has an outcome", _outcomes_known),
    ClaimCheck("the load reads and writes", _read_and_written),
)


def _without_outcome(requests: Sequence[Outcome], firsts: Sequence[int]) -> int:
    """The number of missing numbers: requests are numbered without gaps, from each load's first on."""
    numbers = sorted(request.number for request in requests)
    missing = 0
    for first, end in zip(firsts, [*firsts[1:], float("inf")], strict=True):
        some = numbers[bisect_left(numbers, first) : bisect_left(numbers, end)]
        missing += abs(some[-1] + 1 - first - len(some)) if some else 1
    return missing


def _what_failed(numbers: Mapping[str, Any], faults: Sequence[Window]) -> str:
    counted = {
        "failed": numbers["failed"],
        "executed twice": numbers["executed_twice"],
        "acknowledged and lost": numbers["lost_acknowledged"],
    }
    what = ", ".join(f"{count:,} {name}" for name, count in counted.items() if count)
    worst = max(faults, key=lambda window: window.failed, default=None)
    where = f"; most with {worst.name}: {worst.failed}" if worst and worst.failed else ""
    return f"of {numbers['requests']:,} requests {what}{where}"


# --- numbers -------------------------------------------------------------------------------------------------------


def _posts(requests: Sequence[Outcome], stored: StoredRows) -> dict[str, int]:
    """POSTs against the database's own rows: (request's number, message's number) of each."""
    held = set(zip(stored["number"], stored["message"], strict=True))
    posts = [request for request in requests if request.method == "POST"]
    return {
        "posts": len(posts),
        "acknowledged": sum(post.ok for post in posts),
        "executed_twice": sum(times > 1 for times in Counter(stored["number"]).values()),
        "lost_acknowledged": sum(post.ok and (post.number, post.message) not in held for post in posts),
    }


def _numbers(
    evidence: WebFailoverEvidence, stored: StoredRows, requests: Sequence[Outcome], faults: Sequence[Window]
) -> dict[str, Any]:
    late = sorted(request.late_s * 1000 for request in requests)
    scenarios = by_scenario(faults)
    return {
        "faults": len(faults),
        "requests": len(requests),
        "failed": sum(not request.ok for request in requests),
        **_posts(requests, stored),
        "undetected": sum(window.detected is None for window in faults),
        "false_alarms": false_alarms(faults, evidence.changes),
        **_targets(faults),
        "capacity": evidence.capacity,
        "rates_per_s": evidence.rates_per_s,
        "asked_late_ms_p99": round(quantile(late, 0.99), 2) if late else None,
        "balancer_unseen_s": evidence.looks["longest_gap_s"] if evidence.looks else None,
        "share": {when: _mean(window.shares[when] for window in faults) for when in SHOWN},
        "failed_by_fault": {name: sum(window.failed for window in group) for name, group in scenarios.items()},
        "added_ms": _spreads(scenarios, lambda window: window.added_ms),
        "added_healing_ms": _spreads(scenarios, lambda window: window.added_healing_ms),
        "detected_ms": _spreads(scenarios, lambda window: window.detected_ms),
        "rejoin_ms": _spreads(scenarios, lambda window: window.rejoin_ms),
        "added_ms_by_load": {
            load: _spreads(
                by_symptom(window for window in faults if window.load == load), lambda window: window.added_ms
            )
            for load in sorted({window.load for window in faults})
        },
    }


def _spreads(groups: Mapping[str, Sequence[Window]], value: Callable[[Window], float | None]) -> dict[str, Any]:
    """Each group's distribution; a group of which nothing is known is left out."""
    known = {name: _known(map(value, group)) for name, group in groups.items()}
    return {name: distribution(values) for name, values in known.items() if values}


def by_symptom(faults: Iterable[Window]) -> dict[str, list[Window]]:
    """The faults by how they show."""
    groups: dict[str, list[Window]] = {}
    for window in faults:
        groups.setdefault(window.symptom, []).append(window)
    return dict(sorted(groups.items()))


def by_scenario(faults: Sequence[Window]) -> dict[str, list[Window]]:
    """The faults by what was done."""
    groups = {scenario.name: [window for window in faults if window.scenario == scenario.name] for scenario in WEB}
    return {name: group for name, group in groups.items() if group}


def added(faults: Iterable[Window]) -> list[float]:
    """The latency that each fault added to the slowest request (ms)."""
    return _known(window.added_ms for window in faults)


def _targets(faults: Sequence[Window]) -> dict[str, bool]:
    """The design's targets, met or not; only those that something was measured for."""
    met = {}
    for symptom, group in by_symptom(faults).items():
        values = sorted(added(group))
        for name, share in SHARES.items() if symptom in TARGETS and values else ():
            met[f"target_{symptom}_{name}_within_{TARGETS[symptom]:g}_ms"] = quantile(values, share) <= TARGETS[symptom]
    return met


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return round(mean(known), 4) if known else None
