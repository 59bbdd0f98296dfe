"""The verdict on ``web_failover``, and its numbers. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from experiments.engine.base import Evidence
from experiments.engine.distribution import distribution, quantile
from experiments.engine.verdict import Verdict
from experiments.instruments.load import Outcome, rows
from experiments.web_failover.windows import SHOWN, Window, false_alarms, windows
from testbed.faults.kind import CRASH, SILENT
from testbed.faults.scenarios import WEB

#: ms that a fault may add to a request's latency: told as numbers, no part of the claim
TARGETS = {CRASH: 100.0, SILENT: 300.0}
SHARES = {"all": 1.0, "p99": 0.99, "p50": 0.5}


def verdict(evidence: Evidence) -> Verdict:
    """False as soon as one request failed, was executed twice or got lost; unknown when a fault was not seen to act."""
    if "requests" not in evidence or "stored" not in evidence:
        return Verdict(None, "the requests or what the database holds of them is missing")
    requests = rows(evidence["requests"])
    found = account(evidence, requests)
    numbers = _numbers(evidence, requests, found)
    if numbers["failed"] or numbers["executed_twice"] or numbers["lost_acknowledged"]:
        return Verdict(False, _what_failed(numbers, found), numbers)
    if blind := _blind(evidence, requests, found):
        return Verdict(None, blind, numbers)
    because = (
        f"none of {len(requests):,} requests failed in {len(found):,} faults, none of {numbers['posts']:,} posts was "
        "executed twice or lost"
    )
    return Verdict(True, because, numbers)


def account(evidence: Evidence, requests: Sequence[Outcome]) -> list[Window]:
    """Each fault with the requests that met it."""
    return windows(evidence["faults"], evidence["timeline"], requests, evidence["changes"], evidence["patience_s"])


def _blind(evidence: Evidence, requests: Sequence[Outcome], found: Sequence[Window]) -> str | None:
    """Why nothing is proved although nothing failed."""
    if evidence["stopped"]:
        return str(evidence["stopped"])
    if len(found) < evidence["scheduled"]:
        return f"{len(found)} of {evidence['scheduled']} faults were injected"
    if not found or not requests:
        return "no request met a fault"
    if acting := [each for each in found if each.in_force is False]:
        return f"{_named(acting[0])}: the server went on answering, so the fault was not in force"
    if unseen := [each for each in found if each.in_force is None]:
        return f"{_named(unseen[0])}: too few answers to see that the server was gone"
    if count := _without_outcome(requests, evidence["first_numbers"]):
        return f"{count} requests without an outcome"
    written = [each for each in requests if each.method == "POST"]
    if not written or len(written) == len(requests):
        return f"nothing was {'read' if written else 'written'}"
    return None


def _without_outcome(requests: Sequence[Outcome], firsts: Sequence[int]) -> int:
    """Requests are numbered without gaps, from each load's first on: what is missing was asked, and not told of."""
    numbers = sorted(each.number for each in requests)
    missing = 0
    for first, end in zip(firsts, [*firsts[1:], float("inf")], strict=True):
        some = numbers[bisect_left(numbers, first) : bisect_left(numbers, end)]
        missing += abs(some[-1] + 1 - first - len(some)) if some else 1
    return missing


def _what_failed(numbers: Mapping[str, Any], found: Sequence[Window]) -> str:
    counted = {
        "failed": numbers["failed"],
        "executed twice": numbers["executed_twice"],
        "acknowledged and lost": numbers["lost_acknowledged"],
    }
    what = ", ".join(f"{count:,} {name}" for name, count in counted.items() if count)
    worst = max(found, key=lambda each: each.failed, default=None)
    where = f"; most with {_named(worst)}: {worst.failed}" if worst and worst.failed else ""
    return f"of {numbers['requests']:,} requests {what}{where}"


def _named(window: Window) -> str:
    return f"{window.scenario} on {window.server}"


def _posts(requests: Sequence[Outcome], stored: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """POSTs against the database's own rows: (request's number, message's number) of each."""
    held = set(zip(stored["number"], stored["message"], strict=True))
    written = [each for each in requests if each.method == "POST"]
    return {
        "posts": len(written),
        "acknowledged": sum(each.ok for each in written),
        "executed_twice": sum(times > 1 for times in Counter(stored["number"]).values()),
        "lost_acknowledged": sum(each.ok and (each.number, each.message) not in held for each in written),
    }


def _numbers(evidence: Evidence, requests: Sequence[Outcome], found: Sequence[Window]) -> dict[str, Any]:
    late = sorted(each.late_s * 1000 for each in requests)
    return {
        "faults": len(found),
        "requests": len(requests),
        "failed": sum(not each.ok for each in requests),
        **_posts(requests, evidence["stored"]),
        "undetected": sum(each.detected is None for each in found),
        "false_alarms": false_alarms(found, evidence["changes"]),
        **_targets(found),
        "capacity": evidence["capacity"],
        "rates_per_s": evidence["rates_per_s"],
        "asked_late_ms_p99": round(quantile(late, 0.99), 2) if late else None,
        "balancer_unseen_s": evidence["looks"]["longest_gap_s"],
        "share": {when: _mean(each.shares[when] for each in found) for when in SHOWN},
        "failed_by_fault": {kind: sum(each.failed for each in group) for kind, group in by_scenario(found).items()},
        "added_ms": _spreads(by_scenario(found), lambda each: each.added_ms),
        "added_healing_ms": _spreads(by_scenario(found), lambda each: each.added_healing_ms),
        "detected_ms": _spreads(by_scenario(found), lambda each: each.detected_ms),
        "rejoin_ms": _spreads(by_scenario(found), lambda each: each.rejoin_ms),
        "added_ms_by_load": {
            load: _spreads(by_symptom(each for each in found if each.load == load), lambda each: each.added_ms)
            for load in sorted({each.load for each in found})
        },
    }


def _spreads(groups: Mapping[str, Sequence[Window]], value: Callable[[Window], float | None]) -> dict[str, Any]:
    """Each group's distribution; a group of which nothing is known is left out."""
    known = {name: _known(map(value, group)) for name, group in groups.items()}
    return {name: distribution(values) for name, values in known.items() if values}


def by_symptom(found: Iterable[Window]) -> dict[str, list[Window]]:
    """The faults by how they show."""
    groups: dict[str, list[Window]] = {}
    for each in found:
        groups.setdefault(each.symptom, []).append(each)
    return dict(sorted(groups.items()))


def by_scenario(found: Sequence[Window]) -> dict[str, list[Window]]:
    """The faults by what was done."""
    groups = {scenario.name: [each for each in found if each.scenario == scenario.name] for scenario in WEB}
    return {name: group for name, group in groups.items() if group}


def added(found: Iterable[Window]) -> list[float]:
    """What each fault added to the slowest request (ms)."""
    return _known(each.added_ms for each in found)


def _targets(found: Sequence[Window]) -> dict[str, bool]:
    """Which of the design's targets are met; only those that something was measured for."""
    met = {}
    for symptom, group in by_symptom(found).items():
        values = sorted(added(group))
        for name, share in SHARES.items() if symptom in TARGETS and values else ():
            met[f"target_{symptom}_{name}_within_{TARGETS[symptom]:g}_ms"] = quantile(values, share) <= TARGETS[symptom]
    return met


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return round(mean(known), 4) if known else None
