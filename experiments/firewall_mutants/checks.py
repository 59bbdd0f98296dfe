"""The judgement of ``firewall_mutants``: the fate of each mutant, and the verdict. Pure."""

from __future__ import annotations

from typing import Any

from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.firewall_mutants.evidence import CAUGHT, EQUIVALENT, MutantRow, MutantsEvidence


def by_packets(row: MutantRow) -> bool:
    """Did oracle 4 catch it?"""
    return bool(row["quick"] or row["witness"])


def is_inconclusive(row: MutantRow) -> bool:
    """Is the row inconclusive: the mutant was not on the switches, an oracle gave no answer, or frames were lost."""
    return not row["installed"] or not row["restored"] or bool(row["refused"] or row["lost"])


def survives(row: MutantRow) -> bool:
    """Did an oracle miss a mutation that makes a difference?"""
    return not is_inconclusive(row) and row["proof"] != EQUIVALENT and not (row["proof"] == CAUGHT and by_packets(row))


def contradicts(row: MutantRow) -> bool:
    """Did packets go astray under flows that are proved to let exactly the same packets through."""
    return not is_inconclusive(row) and row["proof"] == EQUIVALENT and by_packets(row)


def fate(row: MutantRow) -> str:
    """The fate of a mutant, in a few words."""
    if is_inconclusive(row):
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


def judge(evidence: MutantsEvidence) -> Verdict:
    """Holds when each mutant was caught by both oracles, or makes no difference at all."""
    numbers = numbers_of(evidence)
    for check in CONTROLS:
        # when it does not go right without a mutant, all that was seen of mutants is inconclusive, surviving ones too
        if (result := check.on(evidence)).holds is None:
            return Verdict(None, result.because, numbers)
    return composed(CHECKS, evidence, numbers)


# --- controls ------------------------------------------------------------------------------------------------------


def _right_before(evidence: MutantsEvidence) -> CheckResult:
    if evidence.wrong_before:
        return CheckResult(None, f"the flows were wrong before anything was changed: {evidence.wrong_before[0]}")
    return CheckResult(True, "the flows were right before anything was changed")


def _calm(evidence: MutantsEvidence) -> CheckResult:
    if len(evidence.calm) < 2:
        return CheckResult(None, "it was not looked whether probes go right when no flow is wrong")
    for row in evidence.calm:
        if row["seen"] or row["lost"]:
            seen = [*row["seen"], str(row["lost"])]
            return CheckResult(None, f"probes go astray though no flow is wrong: {seen[0]}")
    return CheckResult(True, "probes go right when no flow is wrong")


# --- mutants -------------------------------------------------------------------------------------------------------


def _all_caught(evidence: MutantsEvidence) -> CheckResult:
    wrong = [row for row in evidence.mutants if survives(row) or contradicts(row)]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return CheckResult(False, f"{fate(wrong[0])}: {wrong[0]['what']}{more}")
    numbers = numbers_of(evidence)
    caught = f"{numbers['caught']} of {numbers['mutants']} wrong rules and flows are caught by the proof and by packets"
    return CheckResult(True, f"{caught}, {numbers['equivalent']} are proved to make no difference")


def _all_made(evidence: MutantsEvidence) -> CheckResult:
    if not evidence.mutants:
        return CheckResult(None, "there was nothing wrong to be caught")
    if len(evidence.mutants) < evidence.wanted:
        return CheckResult(
            None, f"only {len(evidence.mutants)} of {evidence.wanted} wrong rules and flows were examined"
        )
    return CheckResult(True, f"{len(evidence.mutants)} wrong rules and flows were examined")


def _all_examined(evidence: MutantsEvidence) -> CheckResult:
    rows = [row for row in evidence.mutants if is_inconclusive(row)]
    if not rows:
        return CheckResult(True, "every mutant was examined")
    count = f"{len(rows)} of {len(evidence.mutants)} mutants could not be examined"
    return CheckResult(None, f"{count}: {_why(rows[0])}")


def _why(row: MutantRow) -> str:
    if row["refused"]:
        return f"{row['what']}: {row['refused']}"
    if row["lost"]:
        return f"frames were lost at {', '.join(row['lost'])}"
    held = "the right ones after" if row["installed"] else "these flows"
    return f"{row['what']}: the switches did not hold {held}"


def numbers_of(evidence: MutantsEvidence) -> dict[str, Any]:
    """The verdict's numbers."""
    rows = evidence.mutants
    known = [row for row in rows if not is_inconclusive(row)]
    return {
        "mutants": len(rows),
        "caught": sum(row["proof"] == CAUGHT and by_packets(row) for row in known),
        "caught_by_proof": sum(row["proof"] == CAUGHT for row in known),
        "caught_by_packets": sum(by_packets(row) for row in known),
        "by_quick_set": sum(bool(row["quick"]) for row in known),
        "by_witness_only": sum(bool(row["witness"] and not row["quick"]) for row in known),
        "equivalent": sum(row["proof"] == EQUIVALENT for row in known),
        "surviving": sum(survives(row) for row in known),
        "contradictions": sum(contradicts(row) for row in known),
        "not_known": len(rows) - len(known),
        "probes_per_mutant": evidence.probes,
        "frames_sent": evidence.sent,
        "ms_per_mutant": round(sum(row["ms"] for row in rows) / len(rows), 1) if rows else None,
    }


CONTROLS = (
    ClaimCheck("the flows were right before", _right_before),
    ClaimCheck("probes go right without a mutant", _calm),
)
CHECKS = (
    ClaimCheck("every wrong rule or flow is caught", _all_caught),
    ClaimCheck("all mutants were made", _all_made),
    ClaimCheck("every mutant was examined", _all_examined),
)
