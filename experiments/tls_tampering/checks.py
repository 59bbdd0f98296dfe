"""The judgement of tampering, from the evidence alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.tls_tampering.evidence import TamperingEvidence

Row = Mapping[str, Any]
# OpenSSL's words for a certificate that does not prove the name
REFUSED = "CERTIFICATE_VERIFY_FAILED"
# HAProxy's for a check that failed in TLS
ALARM = "Layer6"


@dataclass(frozen=True)
class Tampering:
    """The evidence with what was counted in it."""

    evidence: TamperingEvidence
    numbers: Mapping[str, Any]
    changed: Sequence[Row]


def judge(evidence: TamperingEvidence) -> Verdict:
    """It fails with a change that reached a visitor, and holds with none but an alarm; an inconclusive probe proves
    nothing, whatever else it saw.
    """
    tampering = Tampering(evidence, _numbers(evidence), changed_answers(evidence))
    if inconclusive := _inconclusive(tampering.numbers, evidence.server):
        return Verdict(None, inconclusive, tampering.numbers)
    return composed(CHECKS, tampering, tampering.numbers)


def _none_changed(tampering: Tampering) -> CheckResult:
    numbers, changed = tampering.numbers, tampering.changed
    if changed:
        because = f"{len(changed)} of {numbers['asked_meanwhile']} answers were changed"
        first = changed[0]["request_id"] or "without an id"
        return CheckResult(
            False, f"{because} on their way from {tampering.evidence.server}; the first: request {first}"
        )
    by = {"the balancer": numbers["alarms"], "the visitors": numbers["certificate_errors"]}
    refusing = " and ".join(name for name, times in by.items() if times)
    because = f"0 of {numbers['asked_meanwhile']} answers were changed: refused by {refusing}"
    answered = sum(numbers["meanwhile"].values())
    return CheckResult(True, f"{because}; {numbers['failed']} failed, {answered} answered")


def _noticed(tampering: Tampering) -> CheckResult:
    if tampering.numbers["alarms"] or tampering.numbers["certificate_errors"]:
        return CheckResult(True, "it was noticed")
    return CheckResult(None, "nothing was changed, and nothing was noticed: why is not known")


CHECKS = (ClaimCheck("no answer changed", _none_changed), ClaimCheck("the attempt was noticed", _noticed))


def _inconclusive(numbers: Mapping[str, Any], server: str) -> str | None:
    """The reason why nothing is proved by what was not seen, if there is one."""
    if not numbers["before"].get(server):
        return f"{server} answered no request before: it was not in the way of any request"
    if numbers["changed_before"]:
        return "pages had the line before anybody could have added it"
    if not numbers["packets_redirected"] or not numbers["connections_to_impostor"]:
        return "the redirection moved nothing: there was no machine in the middle"
    if not numbers["asked_meanwhile"] or not numbers["meanwhile"]:
        return "no request was answered meanwhile: a site that is down shows nothing of this"
    return None


def _numbers(evidence: TamperingEvidence) -> dict[str, Any]:
    before, meanwhile, after = _phases(evidence)
    moments, events = evidence.redirect, evidence.impostor
    alarms = [row for row in evidence.alarms if ALARM in row["line"] and row["time"] >= moments["from"]]
    errors = [row for row in meanwhile if row["error"]]
    refused = [row for row in errors if REFUSED in row["error"]]
    noticed = [row["time"] for row in alarms[:1]] + [row["time"] + row["ms"] / 1000 for row in refused[:1]]
    return {
        "asked_meanwhile": len(meanwhile),
        "changed": len(changed_answers(evidence)),
        "changed_before": sum(row["changed"] for row in before),
        "failed": len(errors),
        "certificate_errors": len(refused),
        "before": _by_server(before),
        "meanwhile": _by_server(meanwhile),
        "after": _by_server(after),
        "max_latency_ms": max((row["ms"] for row in meanwhile), default=None),
        "alarms": len(alarms),
        "noticed_after_s": round(min(noticed) - moments["from"], 3) if noticed else None,
        "packets_redirected": moments["packets"],
        "connections_to_impostor": sum(row["times"] for row in events if row["what"] == "connection"),
        "pages_changed_by_impostor": sum(row["times"] for row in events if row["what"] == "changed"),
        "refusals_seen_by_impostor": sum(row["times"] for row in events if row["what"] == "refused"),
        "healed": moments["healed"],
    }


def _phases(evidence: TamperingEvidence) -> tuple[list[Row], list[Row], list[Row]]:
    """Requests before, while and after the redirection; one that was under way when it began belongs to it."""
    moments = evidence.redirect
    phases: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in evidence.asked:
        ended = row["time"] + row["ms"] / 1000
        phases[0 if ended < moments["from"] else 2 if row["time"] > moments["to"] else 1].append(row)
    return phases


def changed_answers(evidence: TamperingEvidence) -> list[Row]:
    """Answers with the line since the redirection began, late ones included."""
    _, meanwhile, after = _phases(evidence)
    return [row for row in (*meanwhile, *after) if row["changed"]]


def _by_server(rows: list[Row]) -> dict[str, int]:
    return dict(sorted(Counter(row["server"] for row in rows if row["server"]).items()))
