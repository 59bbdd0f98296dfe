"""What a run with mutants shows: who survived whom, and the verdict. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.base import Evidence
from experiments.engine.verdict import Verdict
from experiments.firewall_mutants.examination import CAUGHT, EQUIVALENT

Row = Mapping[str, Any]


def by_packets(row: Row) -> bool:
    """Whether oracle 4 caught it."""
    return bool(row["quick"] or row["witness"])


def is_doubtful(row: Row) -> bool:
    """Whether nothing can be said: it was not on the switches, an oracle gave no answer, or frames were lost."""
    return not row["installed"] or not row["restored"] or bool(row["refused"] or row["lost"])


def survives(row: Row) -> bool:
    """Whether an oracle missed a slip that makes a difference."""
    return not is_doubtful(row) and row["proof"] != EQUIVALENT and not (row["proof"] == CAUGHT and by_packets(row))


def contradicts(row: Row) -> bool:
    """Whether packets went astray under flows that are proved to let exactly the same packets through."""
    return not is_doubtful(row) and row["proof"] == EQUIVALENT and by_packets(row)


def fate(row: Row) -> str:
    """What became of a mutant, in a few words."""
    if is_doubtful(row):
        return "not known"
    if contradicts(row):
        return "equivalent, and yet packets go astray"
    if survives(row):
        return {
            (True, False): "survives the probes",
            (False, True): "survives the proof",
        }.get((row["proof"] == CAUGHT, by_packets(row)), "survives both")
    if row["proof"] == EQUIVALENT:
        return "equivalent"
    return "caught by both" + ("" if row["quick"] else ", by a witness")


def verdict(evidence: Evidence) -> Verdict:
    """Holds when each mutant was caught by both oracles, or makes no difference at all."""
    rows, numbers = evidence["mutants"], told(evidence)
    wrong = [row for row in rows if survives(row) or contradicts(row)]
    if reason := _blind(evidence):
        return Verdict(None, reason, numbers)
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return Verdict(False, f"{fate(wrong[0])}: {wrong[0]['what']}{more}", numbers)
    if doubtful := [row for row in rows if is_doubtful(row)]:
        return Verdict(
            None, f"{len(doubtful)} of {len(rows)} mutants could not be examined: {_why(doubtful[0])}", numbers
        )
    said = f"{numbers['caught']} of {len(rows)} wrong rules and flows are caught by the proof and by packets"
    return Verdict(True, f"{said}, {numbers['equivalent']} are proved to make no difference", numbers)


def _blind(evidence: Evidence) -> str | None:
    """Why nothing can be said at all, if so."""
    if not evidence["mutants"]:
        return "there was nothing wrong to be caught"
    if len(evidence["mutants"]) < evidence["wanted"]:
        return f"only {len(evidence['mutants'])} of {evidence['wanted']} wrong rules and flows were examined"
    if evidence["wrong_before"]:
        return f"the flows were wrong before anything was changed: {evidence['wrong_before'][0]}"
    calm = evidence["calm"]
    if len(calm) < 2:
        return "it was not looked whether probes go right when no flow is wrong"
    for each in calm:
        if each["seen"] or each["lost"]:
            return f"probes go astray though no flow is wrong: {(each['seen'] or [str(each['lost'])])[0]}"
    return None


def _why(row: Row) -> str:
    if row["refused"]:
        return f"{row['what']}: {row['refused']}"
    if row["lost"]:
        return f"frames were lost at {', '.join(row['lost'])}"
    return (
        f"{row['what']}: the switches did not hold {'these flows' if not row['installed'] else 'the right ones after'}"
    )


def told(evidence: Evidence) -> dict[str, Any]:
    """The verdict's numbers."""
    rows = evidence["mutants"]
    known = [row for row in rows if not is_doubtful(row)]
    return {
        "mutants": len(rows),
        "caught": sum(row["proof"] == CAUGHT and by_packets(row) for row in known),
        "caught_by_proof": sum(row["proof"] == CAUGHT for row in known),
        "caught_by_packets": sum(by_packets(row) for row in known),
        "by_quick_set": sum(bool(row["quick"]) for row in known),
        "by_witness_only": sum(bool(row["witness"] and not row["quick"]) for row in known),
        "equivalent": sum(row["proof"] == EQUIVALENT for row in known),
        "survivors": sum(survives(row) for row in known),
        "contradictions": sum(contradicts(row) for row in known),
        "not_known": len(rows) - len(known),
        "probes_per_mutant": evidence["probes"],
        "frames_sent": evidence.get("sent"),
        "ms_per_mutant": round(sum(row["ms"] for row in rows) / len(rows), 1) if rows else None,
    }


def kinds(rows: Sequence[Row]) -> list[tuple[str, str, Counter[str]]]:
    """(kind, subject, how many met which fate), in the order of their first appearance."""
    table: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        table.setdefault((row["kind"], row["subject"]), Counter())[fate(row)] += 1
    return [(kind, subject, fates) for (kind, subject), fates in table.items()]


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """All mutants: survivors before those of which nothing is known, then the caught and the equivalent ones."""

    def rank(row: Row) -> int:
        if survives(row) or contradicts(row):
            return 0
        return 1 if is_doubtful(row) else 3 if row["proof"] == EQUIVALENT else 2

    return sorted(rows, key=rank)
