"""The evidence of ``db_failover``, and how it is written down.

Sets of numbers are short text, ``1-340,351``, and many times are the distances between them: the evidence of a
thousand faults stays small, and a person can read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from experiments.engine.evidence import Evidence, Raw

TICKS = 10_000  # a second, in the unit of `packed`
MOST_WRITES = 10_000_000  # of one writer


class NodeRow(TypedDict):
    """The writes that one node has; ``problem``: why it could not be read."""

    problem: str | None
    writable: bool
    rows: Mapping[str, str]
    twice: Mapping[str, str]
    checksum: int
    state: str
    position: str
    last: int


class RoundRow(TypedDict):
    """One round. Times are s since 1970.

    ``cut_off``: the writers that the fault cut off, too. ``proof``: how it was seen to be in force. ``answers``: when
    writes were acknowledged, by the way to the database. ``owners``, ``writes``: as accounting.py says.
    """

    number: int
    scenario: str
    primary: str
    cut_off: Sequence[str]
    greeted: bool
    proof: str | None
    began: float
    healing: float
    settled: float
    problem: str | None
    answers: Mapping[str, str]
    owners: Sequence[Sequence[Any]]
    events: Sequence[Mapping[str, Any]]
    writes: Mapping[str, Mapping[str, str]]
    nodes: Mapping[str, NodeRow]
    unequal: str | None


class FinalLook(TypedDict):
    """All nodes' rows of the whole run, at its end."""

    nodes: Mapping[str, NodeRow]
    unequal: str | None


def _renamed(raw: Raw) -> Raw:
    """Schema 0 had other words for the same things."""
    rounds = [{**row, "scenario": row["trouble"], "cut_off": row["apart"]} for row in raw.get("rounds", ())]
    return {**raw, "schema": 1, "rounds": rounds, "scheduled": raw.get("wanted", 0)}


@dataclass(frozen=True, kw_only=True)
class DbFailoverEvidence(Evidence):
    """``window``: seconds within which writes must come back. ``left_out``: scenarios that make no sense here, and why.

    ``stopped``: why the schedule was not gone on with.
    """

    upgrades = {0: _renamed}  # noqa: RUF012 - a class variable, as in Evidence

    db: str
    window: float
    scheduled: int
    left_out: Mapping[str, str]
    rounds: Sequence[RoundRow]
    stopped: str | None
    final: FinalLook | None


def spans(numbers: Iterable[int]) -> str:
    """The text of a set of numbers; the empty set is the empty text."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _runs(sorted(set(numbers))))


def numbers(text: str) -> set[int]:
    """The set that a text stands for. Raises ValueError for anything that `spans` would not write of one run."""
    members: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        span = range(int(first), int(last if dash else first) + 1)
        if span.stop - span.start > MOST_WRITES - len(members):
            raise ValueError(f"{part} is more than {MOST_WRITES:,} writes")
        members.update(span)
    if spans(members) != text:
        raise ValueError(f"{text!r} is no set of numbers in order")
    return members


def _runs(ordered: list[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of consecutive numbers."""
    first = last = None
    for number in ordered:
        if last is not None and first is not None and number != last + 1:
            yield first, last
            first = None
        first, last = (number if first is None else first), number
    if first is not None and last is not None:
        yield first, last


def packed(times: Iterable[float], origin: float) -> str:
    """Many times as short text: the distance of each from the one before it, in 0.1 ms, the first from ``origin``."""
    ticks = [round((time - origin) * TICKS) for time in sorted(times)]
    return " ".join(str(here - before) for before, here in zip([0, *ticks], ticks, strict=False))


def unpacked(text: str, origin: float) -> list[float]:
    """The times that a text stands for."""
    times, ticks = [], 0
    for step in text.split():
        ticks += int(step)
        times.append(origin + ticks / TICKS)
    return times
