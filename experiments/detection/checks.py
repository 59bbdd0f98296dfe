"""The verdict on ``detection``: is each attack seen and stopped in time, and nobody honest? Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from experiments.detection.attacks import FLOOD, FORGED, LOGIN, SCAN
from experiments.detection.evidence import AttackRow, DetectionEvidence
from experiments.detection.scoring import of_honest
from experiments.engine.numbers import distribution, upper_bound
from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed

#: s after a source has shown enough of itself: at the fourth denied target, at the fifth failure
SCAN_SEEN_S, SCAN_BLOCKED_S, LOGIN_BLOCKED_S = 0.05, 0.2, 1.0
EVERY_PORT, PORTS_SHARE = "nmap -p-", 0.01
SERVED_SHARE = 0.9
#: of the forged packets, so many must have come to the switch
ARRIVED = 0.5


def judge(evidence: DetectionEvidence) -> Verdict:
    """False as soon as an attack was not seen, not stopped, or too late; or somebody honest was blocked."""
    if evidence.honest_while is None or not evidence.attacks:
        return Verdict(None, "no attack was measured")
    return composed(CHECKS, evidence, {"left_out": list(evidence.left_out)})


def watched(evidence: DetectionEvidence) -> list[AttackRow]:
    """The attacks that a detector should have seen."""
    return [row for row in evidence.attacks if not row["control"]]


def guilty(evidence: DetectionEvidence) -> list[tuple[float, float]]:
    """Whiles in which the honest visitors' host attacked: until the next attack begins, for it may be named late."""
    begins = sorted([*(row["began"] for row in evidence.attacks), float("inf")])
    whiles = [row["began"] for row in evidence.attacks if evidence.client in row["sources"]]
    return [(began, begins[begins.index(began) + 1]) for began in whiles]


def _seen(evidence: DetectionEvidence) -> CheckResult:
    rows = watched(evidence)
    missed = [row["attack"] for row in rows if row["seen"] is None and row["sent"]]
    otherwise = [f"{row['attack']} as {row['kind']}" for row in rows if row["kind"] not in (None, *row["kinds"])]
    delays = [row["seen"] - (row["owed"] or row["began"]) for row in rows if row["seen"] is not None]
    numbers = {
        "attacks": len(rows),
        "missed": missed,
        "called_otherwise": otherwise,
        "seen_s": distribution(delays),
    }
    if missed:
        why = "" if evidence.detector else "; nobody watches (--ids on does)"
        return CheckResult(False, f"{_first(missed)} not seen{why}", numbers)
    return CheckResult(True, f"each of {len(rows)} attacks was seen", numbers)


def _first(names: Sequence[str]) -> str:
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}:"


def stopped(row: AttackRow) -> bool:
    """Its sources are blocked; or the switch refuses all of it, as it does what is forged."""
    return row["blocked"] is not None or row["family"] == FORGED


def share(row: AttackRow) -> float:
    """The part of an attack that was not stopped."""
    return row["before"] / row["whole"] if row["whole"] else 0.0


def _stopped(evidence: DetectionEvidence) -> CheckResult:
    rows = watched(evidence)
    through = [row["attack"] for row in rows if not stopped(row) and row["sent"]]
    numbers = {"not_stopped": through, "share_before": distribution([share(row) for row in rows if stopped(row)])}
    if through:
        return CheckResult(False, f"{_first(through)} not stopped", numbers)
    return CheckResult(True, "each was stopped", numbers)


Moment = Callable[[AttackRow], float | None]


def _in_time(
    family: str, name: str, moment: Moment, most: float, done: str
) -> Callable[[DetectionEvidence], CheckResult]:
    """A check that each attack of a family came to a moment in time, after its source had shown enough of itself."""

    def look(evidence: DetectionEvidence) -> CheckResult:
        delays = dict(_delays(watched(evidence), family, moment))
        numbers = {name: distribution(list(delays.values()))}
        if not delays:
            return CheckResult(None, f"no {family} was {done}", numbers)
        slowest = max(delays, key=lambda attack: delays[attack])
        said = f"{slowest}: {done} {delays[slowest] * 1000:.0f} ms after it had shown itself"
        return CheckResult(delays[slowest] <= most, said, numbers)

    return look


def _delays(rows: Iterable[AttackRow], family: str, moment: Moment) -> Iterable[tuple[str, float]]:
    for row in rows:
        at = moment(row)
        if row["family"] == family and at is not None:  # stopped before it had shown itself: sooner than it must be
            yield row["attack"], 0.0 if row["owed"] is None else at - row["owed"]


def _ports(evidence: DetectionEvidence) -> CheckResult:
    rows = [row for row in watched(evidence) if row["attack"] == EVERY_PORT]
    if not rows:
        return CheckResult(None, f"{EVERY_PORT} was not tried")
    part = max(share(row) for row in rows)
    return CheckResult(part < PORTS_SHARE, f"{EVERY_PORT} got {part:.2%} of the ports", {"ports_share": part})


def _served(evidence: DetectionEvidence) -> CheckResult:
    rows = [row for row in watched(evidence) if row["family"] in (FLOOD, FORGED) and row["served"] is not None]
    if not rows or not evidence.served:
        return CheckResult(None, "no flood was measured beside visitors")
    worst = min(rows, key=lambda row: row["served"] or 0.0)
    part = (worst["served"] or 0.0) / evidence.served
    said = f"{worst['attack']}: {part:.2f} of the normal service from its second second on"
    return CheckResult(part >= SERVED_SHARE, said, {"served_normally": evidence.served, "served_in_floods": part})


def _nobody_honest(evidence: DetectionEvidence) -> CheckResult:
    blocks = of_honest(evidence.blocks, evidence.client, guilty(evidence))
    named = {*evidence.named, *(host for row in evidence.attacks for host in row["misnamed"])}
    requests = sum(row["requests"] for row in evidence.honest)
    visits = sum(row["visits"] for row in evidence.honest)
    numbers = {
        "honest_requests": requests,
        "honest_visits": visits,
        "honest_refused": sum(row["refused"] for row in evidence.honest),
        "false_blocks": len(blocks),
        "false_events": sorted(named),
        "false_blocks_a_request_at_most": upper_bound(len(blocks), requests),
        "false_blocks_a_visit_at_most": upper_bound(len(blocks), visits),
    }
    if blocks:
        return CheckResult(False, f"{evidence.client} was blocked, and had done nothing", numbers)
    if named:
        return CheckResult(False, f"{', '.join(sorted(named))}: named, and had done nothing", numbers)
    if not requests:
        return CheckResult(None, "nobody honest came", numbers)
    bound = numbers["false_blocks_a_request_at_most"]
    return CheckResult(True, f"nobody honest in {requests:,} requests was blocked (at most {bound:.1e})", numbers)


def _never_the_client(evidence: DetectionEvidence) -> CheckResult:
    forged = evidence.forged
    if forged is None:
        return CheckResult(None, "nothing was forged")
    blocks = [block for block in evidence.blocks if block["host"] == forged["host"]]
    meanwhile = [block for block in blocks if forged["began"] <= block["began"] <= forged["ended"]]
    numbers = {"forged": forged["packets"], "forged_refused": forged["refused"], "blocked_by_forgery": len(meanwhile)}
    if meanwhile:
        return CheckResult(False, f"{forged['host']} was blocked for what another had forged", numbers)
    if forged["refused"] < ARRIVED * forged["packets"]:
        return CheckResult(None, f"only {forged['refused']:,} forged packets came to the switch", numbers)
    return CheckResult(True, f"{forged['refused']:,} packets forged as {forged['host']} had nobody blocked", numbers)


def _controls(evidence: DetectionEvidence) -> CheckResult:
    """Without a detector nothing is seen, and of what was cut short more gets through: so it was the detector."""
    controls = {row["attack"]: row for row in evidence.attacks if row["control"]}
    for row in watched(evidence):
        control = controls.get(row["attack"], row)
        if not row["sent"] or not control["sent"]:
            return CheckResult(None, f"{row['attack']} sent nothing")
        if control["control"] and (control["seen"] is not None or control["blocked"] is not None):
            return CheckResult(None, f"{row['attack']} was stopped without a detector, too")
        # what is forged gets nowhere in either case: the switch refuses it
        cut_short = row["family"] != FORGED and row["before"] < row["sent"]
        if control["control"] and cut_short and control["before"] <= row["before"]:
            return CheckResult(None, f"{row['attack']} got no further without a detector")
    return CheckResult(True, f"{len(controls)} attacks got further without a detector", {"controls": len(controls)})


def _finished(evidence: DetectionEvidence) -> CheckResult:
    tried = len(watched(evidence))
    if evidence.stopped:
        return CheckResult(None, evidence.stopped)
    if tried < evidence.scheduled:
        return CheckResult(None, f"{tried} of {evidence.scheduled} attacks were tried")
    if any(name.startswith("nmap") for name in evidence.left_out):
        return CheckResult(None, "nmap is missing (package nmap): no scan was tried")
    return CheckResult(True, "every attack was tried")


CHECKS = (
    ClaimCheck("each attack was seen", _seen),
    ClaimCheck("each attack was stopped", _stopped),
    ClaimCheck("nobody honest was blocked", _nobody_honest),
    ClaimCheck("nobody was blocked for what another forged", _never_the_client),
    ClaimCheck("scans were seen in time", _in_time(SCAN, "scan_seen_s", lambda row: row["seen"], SCAN_SEEN_S, "seen")),
    ClaimCheck(
        "scans were blocked in time",
        _in_time(SCAN, "scan_blocked_s", lambda row: row["blocked"], SCAN_BLOCKED_S, "blocked"),
    ),
    ClaimCheck("few ports were probed", _ports),
    ClaimCheck(
        "guessing was blocked in time",
        _in_time(LOGIN, "login_blocked_s", lambda row: row["blocked"], LOGIN_BLOCKED_S, "blocked"),
    ),
    ClaimCheck("visitors are served during floods", _served),
    ClaimCheck("without a detector the attacks get further", _controls),
    ClaimCheck("every attack was tried", _finished),
)
