"""Packets that policy and proof treat alike, as classes: Open vSwitch is asked about one of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from controllers.policy import Rule
from experiments.firewall_matrix.answers import BEGINS, KINDS, covered, stretches, union
from experiments.firewall_matrix.ofproto import Question, traced
from topo.plan import Plan

Row = Mapping[str, Any]


def classes(pair: Row) -> Iterator[tuple[str, int, int]]:
    """(kind, lowest value, highest value) between a pair of hosts; together all values."""
    for kind in KINDS:
        ruled = [union(map(tuple, each["values"])) for each in pair["policy"] if each["kind"] == kind]
        proved = union(map(tuple, pair["proof"].get(kind, ())))
        for low, high in stretches(kind, *ruled, proved, BEGINS[kind]):
            yield kind, low, high


def asked(plan: Plan, rules: tuple[Rule, ...], random: Random, pair: Row) -> list[dict[str, Any]]:
    """What Open vSwitch says of each class: {"kind", "low", "high", "value" (asked about), "arrives", "flow"}."""
    spans = list(classes(pair))
    questions = [_question(pair, kind, random.randint(low, high)) for kind, low, high in spans]
    return [
        {
            "kind": kind,
            "low": low,
            "high": high,
            "value": each.question.value,
            "arrives": each.arrives,
            "flow": each.flow,
        }
        for (kind, low, high), each in zip(spans, traced(plan, rules, questions), strict=True)
    ]


def _question(pair: Row, kind: str, value: int) -> Question:
    """A packet as the sweep sends it: the tracker is supposed to say of it what it says of that one."""
    tracker = "new" if covered(BEGINS[kind], value) else "inv"
    return Question(pair["src"], pair["dst"], kind, value, tracker)
