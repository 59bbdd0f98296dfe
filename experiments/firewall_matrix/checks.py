"""What the evidence of ``firewall_matrix`` means: holes, walls, doubts, numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.firewall_matrix import answers, malformed, oracles, samples
from experiments.firewall_matrix.answers import KINDS, total, within, without
from experiments.firewall_matrix.oracles import Mismatch, exact, lost

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """``wrong``: each thing in which policy and firewalls differ, in words; ``doubts``: why the rest is not proved."""

    wrong: tuple[str, ...]
    doubts: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]
    numbers: Mapping[str, Any]


def findings(evidence: Row) -> Findings:
    """All that follows from the evidence."""
    pairs = evidence["pairs"]
    found = tuple(each for pair in pairs for each in oracles.mismatches(pair))
    wrong = [
        *_mismatches(found, evidence),
        *_strays(pairs),
        *_proof(evidence["proof"], found),
        *_odd(evidence["odd"]),
        *samples.wrong(evidence["controller"]),
    ]
    return Findings(tuple(wrong), tuple(_doubts(evidence)), found, _numbers(evidence, found))


def _mismatches(found: Iterable[Mismatch], evidence: Row) -> Iterator[str]:
    by = {(row["src"], row["dst"], row["kind"], row["value"]): row["flow"] for row in evidence["flows"]}
    traced = {(pair["src"], pair["dst"]): pair["trace"] for pair in evidence["pairs"]}
    for each, packets in sorted(oracles.together(found), key=lambda group: group[0].allowed):
        first = each.values[0][0]
        flow = by.get((each.src, each.dst, each.kind, first))
        yield (
            oracles.words(each, packets)
            + (f"; by {flow}" if flow else "")
            + (_by_trace(traced[each.src, each.dst], each) if each.trace not in (None, each.proof) else "")
        )


def _by_trace(traced: Iterable[Row], mismatch: Mismatch) -> str:
    """The flow by which Open vSwitch itself decides, where that is another."""
    first = mismatch.values[0][0]
    flows = [row["flow"] for row in traced if row["kind"] == mismatch.kind and row["low"] <= first <= row["high"]]
    return f"; traced to {flows[0]}" if flows else ""


def _strays(pairs: Iterable[Row]) -> Iterator[str]:
    for pair in pairs:
        for host, packets in pair["wire"]["strays"].items():
            yield f"{pair['src']} -> {pair['dst']}: {packets} packets arrive at {host}, for whom they are not"


def _proof(proof: Row, found: Iterable[Mismatch]) -> Iterator[str]:
    """What the proof finds beyond the packets of a sweep: other states, other senders, other headers."""
    told = {(each.src, each.dst) for each in found}
    for line in proof["differences"]:
        ends = tuple(line.split(" ")[:3:2])
        if ends not in told:
            yield line


def _odd(rows: Sequence[Row]) -> Iterator[str]:
    for each in malformed.findings(rows):
        yield f"{each['src']} -> {each['dst']} {each['odd']}: {each['says']}"


def _doubts(evidence: Row) -> Iterator[str]:
    if not evidence["pairs"]:
        yield "no pair was looked at"
    yield from samples.doubts(evidence["controller"])
    for pair in evidence["pairs"]:
        yield from _lost(pair)
        yield from _elsewhere(pair)
    yield from _uncontrolled(evidence)
    yield from (f"odd packets: {each}" for each in malformed.doubts(evidence["odd"]))
    if untraced := [pair for pair in evidence["pairs"] if not pair["trace"]]:
        yield f"{untraced[0]['src']} -> {untraced[0]['dst']}: Open vSwitch was not asked"
    if evidence["changed"]:
        yield "the flows changed while the packets were sent"
    hosts = len(evidence["hosts"])
    if len(evidence["pairs"]) < hosts * (hosts - 1):
        yield f"only {len(evidence['pairs'])} of {hosts * (hosts - 1)} pairs were looked at"
    elif any(total(answers.read(pair["wire"]["values"])) < total(answers.EVERYTHING) for pair in evidence["pairs"]):
        yield "not all ports were looked at"


def _lost(pair: Row) -> Iterator[str]:
    swept = pair["wire"]
    ends = f"{pair['src']} -> {pair['dst']}"
    if swept["blind"]:
        yield f"{ends}: the captures of {', '.join(swept['blind'])} lost packets"
    if missing := lost(swept):
        what = "probes were lost" if missing > 0 else "packets more than were sent were counted"
        yield f"{ends}: {abs(missing)} {what} of {swept['probes']}"
    if not swept["probes"]:
        yield f"{ends}: nothing was sent"


def _elsewhere(pair: Row) -> Iterator[str]:
    """A block counts where the policy's own flow, on the switch that decides, has counted it."""
    swept = pair["wire"]
    if not exact(swept) or oracles.mismatches(pair) or swept["stopped"] == pair["stops"]:
        return
    seen, due = (_counts(told) for told in (swept["stopped"], pair["stops"]))
    yield f"{pair['src']} -> {pair['dst']}: the policy stops {due}, but what was counted is {seen}"


def _counts(stopped: Mapping[str, Mapping[str, int]]) -> str:
    rows = [f"{number} by {name} on {switch}" for switch, names in stopped.items() for name, number in names.items()]
    return ", ".join(rows) or "nothing"


def _uncontrolled(evidence: Row) -> Iterator[str]:
    """Of a source none of whose probes arrives where it may, nobody knows whether they would."""
    sources = {pair["src"]: None for pair in evidence["pairs"] if _blocked(pair)}
    for src in sources:
        if not any(each["src"] == src and _reached(each) for each in (*evidence["pairs"], *evidence["controls"])):
            yield f"{src} reached nothing that it may reach: that its other probes did not arrive proves nothing"


def _blocked(pair: Row) -> bool:
    came, may = oracles.arrived(pair["wire"]), oracles.allowed(pair)
    sent = answers.read(pair["wire"]["values"])
    return any(without(without(sent[kind], may[kind]), came[kind]) for kind in KINDS)


def _reached(pair: Row) -> bool:
    came, may = oracles.arrived(pair["wire"]), oracles.allowed(pair)
    return any(within(came[kind], may[kind]) for kind in KINDS)


def _numbers(evidence: Row, found: Sequence[Mismatch]) -> dict[str, Any]:
    pairs = evidence["pairs"]
    probes = sum(pair["wire"]["probes"] for pair in pairs)
    seconds = evidence["seconds"]
    return {
        "pairs": len(pairs),
        "probes": probes,
        "arrived": sum(pair["wire"]["arrivals"] for pair in pairs),
        "mismatches": oracles.count(found),
        "holes": len({(each.src, each.dst) for each in found if not each.allowed}),
        "walls": len({(each.src, each.dst) for each in found if each.allowed}),
        "proof_differences": len(evidence["proof"]["differences"]),
        "flows": evidence["proof"]["flows"],
        "traces": sum(len(pair["trace"]) for pair in pairs),
        "odd": len(evidence["odd"]),
        "odd_wrong": len(malformed.findings(evidence["odd"])),
        "pairs_inexact": sum(not exact(pair["wire"]) for pair in pairs),
        "probes_per_s": round(probes / seconds["sweep"]) if seconds["sweep"] else 0,
        "sweep_s": seconds["sweep"],
        "proof_ms": evidence["proof"]["ms"],
        **samples.numbers(evidence["controller"]),
    }
