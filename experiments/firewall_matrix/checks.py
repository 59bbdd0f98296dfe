"""The judgement of ``firewall_matrix``: leaks, over-blocks, all that is inconclusive, and the numbers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.firewall_matrix import answers
from experiments.firewall_matrix.answers import EVERYTHING, KINDS, NOTHING, OracleMismatch, total, within, without
from experiments.firewall_matrix.evidence import (
    Answer,
    ControllerRow,
    ControlRow,
    MatrixEvidence,
    PairRow,
    Stopped,
    TraceRow,
)
from experiments.firewall_matrix.malformed import contradictions, inconclusive

SHOWN = 3
Mismatches: TypeAlias = Sequence[OracleMismatch]
Lines: TypeAlias = Callable[[MatrixEvidence, Mismatches], Iterable[str]]


@dataclass(frozen=True)
class Findings:
    """``wrong``: each way in which policy and firewalls differ, in words; ``doubts``: why the rest is not proved."""

    wrong: tuple[str, ...]
    doubts: tuple[str, ...]
    mismatches: tuple[OracleMismatch, ...]
    numbers: Mapping[str, Any]


def findings(evidence: MatrixEvidence) -> Findings:
    """All that follows from the evidence."""
    mismatches = tuple(mismatch for pair in evidence.pairs for mismatch in answers.mismatches(pair))
    wrong, doubts = (
        tuple(line for lines in checks.values() for line in lines(evidence, mismatches))
        for checks in (WRONG, INCONCLUSIVE)
    )
    return Findings(wrong, doubts, mismatches, numbers(evidence, mismatches))


def judge(evidence: MatrixEvidence) -> Verdict:
    """Fails with any finding, is unknown with any doubt."""
    all_findings = findings(evidence)
    return composed(CHECKS, all_findings, all_findings.numbers)


def _nothing_wrong(findings: Findings) -> CheckResult:
    if findings.wrong:
        # the flow that decides is shown above the verdict
        return CheckResult(False, _some([line.split("; by ")[0] for line in findings.wrong]))
    because = (
        "{pairs} pairs, {probes} probes: {arrived} arrived, those that the policy allows; "
        "each of the others was counted where the policy stops it"
    )
    return CheckResult(True, because.format(**findings.numbers))


def _nothing_doubtful(findings: Findings) -> CheckResult:
    if findings.doubts:
        return CheckResult(None, f"nothing is wrong as far as was seen, but {_some(findings.doubts)}")
    return CheckResult(True, "every probe of every pair is accounted for")


def _some(lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


# --- wrong ---------------------------------------------------------------------------------------------------------


def _oracles_agree(evidence: MatrixEvidence, mismatches: Mismatches) -> Iterator[str]:
    """Leaks, over-blocks, and oracles that contradict each other; each with the flow that decides."""
    by = {(row["src"], row["dst"], row["kind"], row["value"]): row["flow"] for row in evidence.flows}
    traces = {(pair["src"], pair["dst"]): pair["trace"] for pair in evidence.pairs}
    for mismatch, packets in sorted(answers.together(mismatches), key=lambda group: group[0].allowed):
        flow = by.get((mismatch.src, mismatch.dst, mismatch.kind, mismatch.values[0][0]))
        yield (
            answers.words(mismatch, packets)
            + (f"; by {flow}" if flow else "")
            + _traced_flow(traces[mismatch.src, mismatch.dst], mismatch)
        )


def _traced_flow(trace: Iterable[TraceRow], mismatch: OracleMismatch) -> str:
    """The flow by which Open vSwitch itself decides, where it contradicts the proof."""
    if mismatch.trace in (None, mismatch.proof):
        return ""
    first = mismatch.values[0][0]
    flows = [row["flow"] for row in trace if row["kind"] == mismatch.kind and row["low"] <= first <= row["high"]]
    return f"; traced to {flows[0]}" if flows else ""


def _no_strays(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    for pair in evidence.pairs:
        for host, packets in pair["wire"]["strays"].items():
            yield f"{pair['src']} -> {pair['dst']}: {packets} packets arrive at {host}, for whom they are not"


def _proof_agrees(evidence: MatrixEvidence, mismatches: Mismatches) -> Iterator[str]:
    """The proof's differences beyond the packets of a sweep: other states, other senders, other headers."""
    pairs = {(mismatch.src, mismatch.dst) for mismatch in mismatches}
    yield from (line for line in evidence.proof["differences"] if tuple(line.split(" ")[:3:2]) not in pairs)


def _malformed_stopped(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    for row in contradictions(evidence.malformed):
        yield f"{row['src']} -> {row['dst']} {row['packet']}: {row['says']}"


def _samples_metered(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    yield from samples_wrong(evidence.controller)


# --- inconclusive --------------------------------------------------------------------------------------------------


def _some_pairs(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    if not evidence.pairs:
        yield "no pair was looked at"


def _samples_known(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    yield from samples_doubts(evidence.controller)


def _probes_accounted_for(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    for pair in evidence.pairs:
        yield from _lost(pair)
        yield from _stopped_elsewhere(pair)


def _lost(pair: PairRow) -> Iterator[str]:
    swept = pair["wire"]
    ends = f"{pair['src']} -> {pair['dst']}"
    if swept["inconclusive"]:
        yield f"{ends}: the captures of {', '.join(swept['inconclusive'])} lost packets"
    if missing := answers.lost(swept):
        what = "probes were lost" if missing > 0 else "packets more than were sent were counted"
        yield f"{ends}: {abs(missing)} {what} of {swept['probes']}"
    if not swept["probes"]:
        yield f"{ends}: nothing was sent"


def _stopped_elsewhere(pair: PairRow) -> Iterator[str]:
    """A block counts where the policy's own flow, on the switch that decides, has counted it."""
    swept = pair["wire"]
    if not answers.exact(swept) or answers.mismatches(pair) or swept["stopped"] == pair["stops"]:
        return
    seen, due = (_counts(stopped) for stopped in (swept["stopped"], pair["stops"]))
    yield f"{pair['src']} -> {pair['dst']}: the policy stops {due}, but what was counted is {seen}"


def _counts(stopped: Stopped) -> str:
    rows = [f"{number} by {name} on {switch}" for switch, names in stopped.items() for name, number in names.items()]
    return ", ".join(rows) or "nothing"


def _sources_controlled(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    """Of a source none of whose probes arrives where it may, it is not known whether they would."""
    for src in dict.fromkeys(pair["src"] for pair in evidence.pairs if _blocked(pair)):
        if not any(row["src"] == src and _reached(row) for row in (*evidence.pairs, *evidence.controls)):
            yield f"{src} reached nothing that it may reach: that its other probes did not arrive proves nothing"


def _blocked(pair: PairRow) -> bool:
    came, may, sent = _of(pair["wire"]["arrived"]), answers.allowed(pair), _of(pair["wire"]["values"])
    return any(without(without(sent[kind], may[kind]), came[kind]) for kind in KINDS)


def _reached(pair: ControlRow) -> bool:
    came, may = _of(pair["wire"]["arrived"]), answers.allowed(pair)
    return any(within(came[kind], may[kind]) for kind in KINDS)


def _of(answer: Answer) -> Answer:
    """With every kind."""
    return {**NOTHING, **answer}


def _malformed_seen(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    yield from (f"malformed packets: {line}" for line in inconclusive(evidence.malformed))


def _all_traced(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    if untraced := [pair for pair in evidence.pairs if not pair["trace"]]:
        yield f"{untraced[0]['src']} -> {untraced[0]['dst']}: Open vSwitch was not asked"


def _flows_unchanged(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    if evidence.changed:
        yield "the flows changed while the packets were sent"


def _all_looked_at(evidence: MatrixEvidence, _: Mismatches) -> Iterator[str]:
    hosts, pairs = len(evidence.hosts), evidence.pairs
    if len(pairs) < hosts * (hosts - 1):
        yield f"only {len(pairs)} of {hosts * (hosts - 1)} pairs were looked at"
    elif any(total(pair["wire"]["values"]) < total(EVERYTHING) for pair in pairs):
        yield "not all ports were looked at"


# --- the controller's samples --------------------------------------------------------------------------------------


def samples_wrong(row: ControllerRow) -> list[str]:
    """More than the meters let pass, in words."""
    if row["packet_ins"] is None or (seen := sum(row["packet_ins"].values())) <= row["most"]:
        return []
    return [f"the controller was sent {seen} packets in {row['seconds']:g} s; meters let {row['most']:g} pass"]


def samples_doubts(row: ControllerRow) -> list[str]:
    """The reasons for which the number of samples is not known."""
    return ["the controller did not tell how many packets it was sent"] if row["packet_ins"] is None else []


def samples_numbers(row: ControllerRow) -> dict[str, Any]:
    """Packets that the controller was sent, the most there can be, and its share of a processor."""
    if row["packet_ins"] is None or row["cpu_s"] is None:
        return {"packet_ins": None, "packet_ins_most": row["most"], "controller_cpu": None}
    return {
        "packet_ins": sum(row["packet_ins"].values()),
        "packet_ins_most": row["most"],
        "controller_cpu": round(row["cpu_s"] / row["seconds"], 4) if row["seconds"] else None,
    }


def numbers(evidence: MatrixEvidence, mismatches: Mismatches) -> dict[str, Any]:
    """The verdict's numbers."""
    pairs, seconds = evidence.pairs, evidence.seconds["sweep"]
    probes = sum(pair["wire"]["probes"] for pair in pairs)
    return {
        "pairs": len(pairs),
        "probes": probes,
        "arrived": sum(pair["wire"]["arrivals"] for pair in pairs),
        "mismatches": answers.count(mismatches),
        "leaks": len({(mismatch.src, mismatch.dst) for mismatch in mismatches if not mismatch.allowed}),
        "over_blocks": len({(mismatch.src, mismatch.dst) for mismatch in mismatches if mismatch.allowed}),
        "proof_differences": len(evidence.proof["differences"]),
        "flows": evidence.proof["flows"],
        "traces": sum(len(pair["trace"]) for pair in pairs),
        "malformed": len(evidence.malformed),
        "malformed_wrong": len(contradictions(evidence.malformed)),
        "pairs_inexact": sum(not answers.exact(pair["wire"]) for pair in pairs),
        "probes_per_s": round(probes / seconds) if seconds else 0,
        "sweep_s": seconds,
        "proof_ms": evidence.proof["ms"],
        **samples_numbers(evidence.controller),
    }


#: each line of these is a difference between policy and firewalls
WRONG: Mapping[str, Lines] = {
    "the oracles agree": _oracles_agree,
    "no packet arrives at a third host": _no_strays,
    "the proof finds no difference": _proof_agrees,
    "malformed packets are stopped": _malformed_stopped,
    "the controller is sent no more than meters let pass": _samples_metered,
}
#: each line of these is a reason why the rest is not proved
INCONCLUSIVE: Mapping[str, Lines] = {
    "there are pairs": _some_pairs,
    "the controller's samples are known": _samples_known,
    "every probe is accounted for where the policy stops it": _probes_accounted_for,
    "every source reached something": _sources_controlled,
    "well-formed packets were seen": _malformed_seen,
    "Open vSwitch was asked about every pair": _all_traced,
    "the flows did not change": _flows_unchanged,
    "all pairs and ports were looked at": _all_looked_at,
}
CHECKS = (
    ClaimCheck("exactly what the policy allows gets through", _nothing_wrong),
    ClaimCheck("everything was looked at", _nothing_doubtful),
)
