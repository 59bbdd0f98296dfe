"""The judgement of tampering, from the evidence alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from experiments.engine.base import Evidence
from experiments.engine.verdict import Verdict

Row = Mapping[str, Any]
# OpenSSL's words for "this is not who it says it is"
REFUSED = "CERTIFICATE_VERIFY_FAILED"
# HAProxy's for a check that failed in TLS
ALARM = "Layer6"


def verdict(evidence: Evidence) -> Verdict:
    """It fails with a change that reached a visitor, and holds with none but an alarm; a blind probe proves nothing."""
    numbers = _numbers(evidence)
    server, changed = evidence["server"], _changed(evidence)
    if blind := _blind(numbers, server):
        return Verdict(None, blind, numbers)
    if changed:
        first = changed[0]
        because = f"{len(changed)} of {numbers['asked_meanwhile']} answers were changed on their way from {server}"
        return Verdict(False, f"{because}; the first: request {first['request_id'] or 'without an id'}", numbers)
    if not numbers["alarms"] and not numbers["certificate_errors"]:
        return Verdict(None, "nothing was changed, and nobody has noticed anything: why is not known", numbers)
    who = {"the balancer": numbers["alarms"], "the visitors": numbers["certificate_errors"]}
    refusing = " and ".join(name for name, times in who.items() if times)
    because = f"0 of {numbers['asked_meanwhile']} answers were changed: refused by {refusing}"
    return Verdict(
        True, f"{because}; {numbers['failed']} failed, {sum(numbers['meanwhile'].values())} answered", numbers
    )


def _blind(numbers: Mapping[str, Any], server: str) -> str | None:
    """Why nothing is proved by what was not seen."""
    if not numbers["before"].get(server):
        return f"{server} answered nobody before: it was not in the way of any request"
    if numbers["changed_before"]:
        return "pages had the line before anybody could have added it"
    if not numbers["packets_redirected"] or not numbers["connections_to_impostor"]:
        return "the redirection moved nothing: there was nobody in the middle"
    if not numbers["asked_meanwhile"] or not numbers["meanwhile"]:
        return "nobody was answered meanwhile: a site that is down shows nothing of this"
    return None


def _numbers(evidence: Evidence) -> dict[str, Any]:
    before, meanwhile, after = _phases(evidence)
    moments, events = evidence["redirect"], evidence["impostor"]
    alarms = [row for row in evidence["alarms"] if ALARM in row["line"] and row["time"] >= moments["from"]]
    errors = [row for row in meanwhile if row["error"]]
    refused = [row for row in errors if REFUSED in row["error"]]
    noticed = [row["time"] for row in alarms[:1]] + [row["time"] + row["ms"] / 1000 for row in refused[:1]]
    return {
        "asked_meanwhile": len(meanwhile),
        "changed": len(_changed(evidence)),
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


def _phases(evidence: Evidence) -> tuple[list[Row], list[Row], list[Row]]:
    """Requests before, while and after the redirection; one that was under way when it began belongs to it."""
    moments = evidence["redirect"]
    phases: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in evidence["asked"]:
        ended = row["time"] + row["ms"] / 1000
        phases[0 if ended < moments["from"] else 2 if row["time"] > moments["to"] else 1].append(row)
    return phases


def _changed(evidence: Evidence) -> list[Row]:
    """Answers with the line since the redirection began, late ones included."""
    _, meanwhile, after = _phases(evidence)
    return [row for row in (*meanwhile, *after) if row["changed"]]


def _by_server(rows: list[Row]) -> dict[str, int]:
    return dict(sorted(Counter(row["server"] for row in rows if row["server"]).items()))


def story(evidence: Evidence, numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What happened, in a few lines: (who or when, what)."""
    told = [
        ("asked", f"{len(evidence['asked'])} times, {numbers['asked_meanwhile']} of them while redirected"),
        *((f"answered {phase}", _shares(numbers[phase])) for phase in ("before", "meanwhile", "after")),
        ("redirected", f"{numbers['packets_redirected']} packets, {numbers['connections_to_impostor']} connections"),
        *(("in the middle", _event(row)) for row in evidence["impostor"] if row["what"] in ("changed", "refused")),
        *(("balancer", row["line"]) for row in evidence["alarms"]),
        ("visitors", f"{numbers['changed']} changed answers, {numbers['failed']} failed requests"),
    ]
    if changed := _changed(evidence):
        told.append(("a visitor", f"read {evidence['line']!r} in request {changed[0]['request_id']}"))
    return told


def _shares(by_server: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in by_server.items()) or "by nobody"


def _event(row: Row) -> str:
    return f"{row['what']} {row['times']} times" + (f": {row['why']}" if row["why"] else "")
