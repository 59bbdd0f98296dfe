"""What the oracles say about one pair of hosts, and where they do not agree. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.firewall_matrix import answers, counters
from experiments.firewall_matrix.answers import EVERYTHING, KINDS, Answer, Intervals, size, spans, within, without

Row = Mapping[str, Any]
Opinion = bool | None
ORACLES = ("proof", "trace", "wire")


@dataclass(frozen=True)
class Mismatch:
    """Packets of one kind about which the oracles differ. ``allowed``: what ``rule`` of the policy says.

    ``proof``, ``trace``, ``wire``: whether they arrive; None where nobody asked, or a lost probe leaves it open.
    """

    src: str
    dst: str
    kind: str
    values: Intervals
    rule: str
    allowed: bool
    proof: Opinion
    trace: Opinion
    wire: Opinion

    @property
    def opinions(self) -> tuple[str, str, str, bool, Opinion, Opinion, Opinion]:
        """All but the packets."""
        return (self.src, self.dst, self.rule, self.allowed, self.proof, self.trace, self.wire)


def exact(swept: Row) -> bool:
    """Whether every probe of a sweep is accounted for, by captures that lost nothing."""
    return lost(swept) == 0 and not swept["blind"]


def lost(swept: Row) -> int:
    """Probes that neither arrived nor were counted as dropped; below 0 when somebody else's packets were counted."""
    return int(swept["probes"]) - int(swept["arrivals"]) - counters.packets(swept["stopped"].values())


def arrived(swept: Row) -> Answer:
    """What was seen at the destination."""
    return answers.read(swept["arrived"])


def allowed(pair: Row) -> Answer:
    """What the policy lets through."""
    told = pair["policy"]
    return {
        kind: spans(span for each in told if each["allowed"] and each["kind"] == kind for span in each["values"])
        for kind in KINDS
    }


def mismatches(pair: Row) -> list[Mismatch]:
    """All packets of a pair about which not all oracles agree."""
    return [each for kind in KINDS for each in _mismatches(pair, kind)]


def _mismatches(pair: Row, kind: str) -> Iterator[Mismatch]:
    proof = spans(pair["proof"].get(kind, ()))
    ways = list(_ways(_wire(pair["wire"], kind), _trace(pair["trace"], kind)))
    for each in pair["policy"]:
        if each["kind"] != kind:
            continue
        for yes, proved in ((True, proof), (False, without(EVERYTHING[kind], proof))):
            for values, wire, trace in ways:
                if not {each["allowed"], yes, wire, trace} >= {True, False}:
                    continue
                if differ := within(within(spans(each["values"]), proved), values):
                    yield Mismatch(
                        pair["src"], pair["dst"], kind, differ, each["rule"], each["allowed"], yes, trace, wire
                    )


def _ways(
    wire: Mapping[Opinion, Intervals], trace: Mapping[Opinion, Intervals]
) -> Iterator[tuple[Intervals, Opinion, Opinion]]:
    """All values, by what the packets and the trace say of them."""
    for seen, values in wire.items():
        for told, others in trace.items():
            if both := within(values, others):
                yield both, seen, told


def _wire(swept: Row, kind: str) -> dict[Opinion, Intervals]:
    """That a probe arrived is certain; that it did not, only when none was lost."""
    came = spans(swept["arrived"].get(kind, ()))
    stayed = without(spans(swept["values"].get(kind, ())), came) if exact(swept) else ()
    return {True: came, False: stayed, None: without(without(EVERYTHING[kind], came), stayed)}


def _trace(traced: Iterable[Row], kind: str) -> dict[Opinion, Intervals]:
    own = [each for each in traced if each["kind"] == kind]
    passed, stopped = (
        spans((each["low"], each["high"]) for each in own if each["arrives"] == arrives) for arrives in (True, False)
    )
    return {True: passed, False: stopped, None: without(without(EVERYTHING[kind], passed), stopped)}


def together(found: Iterable[Mismatch]) -> list[tuple[Mismatch, Answer]]:
    """Mismatches that differ in the packets alone, as one each: the first of them, and all their packets."""
    groups: dict[Any, list[Mismatch]] = {}
    for each in found:
        groups.setdefault(each.opinions, []).append(each)
    return [(group[0], {each.kind: each.values for each in group}) for group in groups.values()]


def words(mismatch: Mismatch, packets: Answer) -> str:
    """One line: the packets, what each oracle says of them, and the rule."""
    said = {name: getattr(mismatch, name) for name in ORACLES if getattr(mismatch, name) is not None}
    if mismatch.wire is not None and len(set(said.values())) == 1:
        what = "arrives" if next(iter(said.values())) else "does not arrive"
    else:
        what = ", ".join(f"{name}: {'arrives' if yes else 'stopped'}" for name, yes in said.items())
    verb = "allows" if mismatch.allowed else "denies"
    return f"{mismatch.src} -> {mismatch.dst} {answers.shown(packets)}: {what}, the policy {verb} it ({mismatch.rule})"


def count(found: Iterable[Mismatch]) -> int:
    """How many packets."""
    return sum(size(each.values) for each in found)
