"""Oracle 1: what the policy says, asked of ``decide`` for every value of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controllers.policy import Rule, decide
from experiments.firewall_matrix.answers import (
    BEGINS,
    EVERYTHING,
    KINDS,
    Answer,
    Intervals,
    size,
    stretches,
    union,
    within,
    without,
)
from topo.plan import Host, Plan

INVALID = "invalid"


@dataclass(frozen=True)
class Ruling:
    """Values of one kind that one rule decides about; ``INVALID`` stands for what begins no conversation."""

    kind: str
    values: Intervals
    rule: str
    allowed: bool


def decided(rules: Sequence[Rule], plan: Plan, src: Host, dst: Host) -> Answer:
    """What gets through from one host to another."""
    told = rulings(rules, plan, src, dst)
    return {
        kind: union(span for each in told if each.kind == kind and each.allowed for span in each.values)
        for kind in KINDS
    }


def rulings(rules: Sequence[Rule], plan: Plan, src: Host, dst: Host) -> tuple[Ruling, ...]:
    """Who decides about each value, each value once."""
    return tuple(each for kind in KINDS for each in _rulings(tuple(rules), plan, src, dst, kind))


def _rulings(rules: tuple[Rule, ...], plan: Plan, src: Host, dst: Host, kind: str) -> Iterator[Ruling]:
    """``decide`` is asked once for each stretch of values that no rule tells apart."""
    named = [rule.ports or () for rule in rules if rule.proto == kind]
    by: dict[Rule, list[tuple[int, int]]] = {}
    for span in stretches(kind, *named):
        by.setdefault(decide(rules, plan, src.name, dst.name, kind, span[0]), []).append(span)
    for rule, spans in by.items():
        if values := within(union(spans), BEGINS[kind]):
            yield Ruling(kind, values, rule.name, rule.action == "allow")
    yield Ruling(kind, without(EVERYTHING[kind], BEGINS[kind]), INVALID, allowed=False)


def one_allowed(rules: Sequence[Rule], plan: Plan, src: Host) -> tuple[Host, Answer] | None:
    """Somebody whom a host may reach, and a value with which; None if it may reach nobody."""
    for dst in plan.hosts:
        told = rulings(rules, plan, src, dst) if dst != src else ()
        for each in told:
            if each.allowed:
                value = each.values[0][0]
                return dst, {each.kind: ((value, value),)}
    return None


def stops(rules: Sequence[Rule], plan: Plan, src: Host, dst: Host, sent: Answer) -> dict[str, dict[str, int]]:
    """Which flows are to count how many of these packets as dropped: switch -> name -> packets.

    Every switch that decides has the same rules, so the first one on the way stops all that is to be stopped.
    """
    counts: dict[str, int] = {}
    for each in rulings(rules, plan, src, dst):
        here = within(each.values, sent.get(each.kind, ()))
        if here and not each.allowed:
            counts[each.rule] = counts.get(each.rule, 0) + size(here)
    return {plan.policed_by(src.name, dst.name)[0]: counts} if counts else {}
