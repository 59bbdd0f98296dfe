"""The difference between two policies in words: exact, and short where many pairs of hosts change alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controllers.policy import Rule
from controllers.verify.explain import boxes_of, conversation
from controllers.verify.intent import Intent, Pair
from controllers.verify.packetset import Space
from topo.plan import Plan


@dataclass(frozen=True)
class Change:
    """Conversations that may newly begin between these hosts, or no longer, by which rule of the new policy."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    what: str
    opened: bool
    rule: str

    def text(self, plan: Plan) -> str:
        sources, targets = together(plan, self.sources, self.targets), together(plan, self.targets, self.sources)
        return f"{sources} -> {targets} {self.what}: now {'open' if self.opened else 'closed'}, by rule '{self.rule}'"


def changes(present: Sequence[Rule], desired: Sequence[Rule], plan: Plan) -> list[Change]:
    """Everything that ``desired`` decides otherwise than ``present``: what is opened first."""
    intent = Intent(plan, Space())
    before, after = intent.spoken(present), intent.spoken(desired)
    opened_or_closed: dict[tuple[bool, str, str], list[Pair]] = {}
    for pair, speaking in after.items():
        was, will = intent.allowed(before[pair]), intent.allowed(speaking)
        for opened, part in ((True, intent.space.minus(will, was)), (False, intent.space.minus(was, will))):
            for rule, decided in intent.decided(speaking, part):
                for box in boxes_of(decided):
                    opened_or_closed.setdefault((opened, conversation(box), rule.name), []).append(pair)
    made = [
        Change(sources, targets, what, opened, rule)
        for (opened, what, rule), pairs in opened_or_closed.items()
        for sources, targets in grouped(pairs)
    ]
    return sorted(made, key=lambda change: not change.opened)


def grouped(pairs: Iterable[Pair]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs as few products: sources that reach the same targets stand together. A host and itself is no gap."""
    targets: dict[str, list[str]] = {}
    for src, dst in pairs:
        targets.setdefault(src, []).append(dst)
    made: list[tuple[list[str], set[str]]] = []
    for src, reached in targets.items():
        for sources, together in made:
            whole = together | set(reached)
            if all(whole - {source} == set(targets[source]) - {source} for source in (*sources, src)):
                sources.append(src)
                together |= set(reached)
                break
        else:
            made.append(([src], set(reached)))
    return [(tuple(sources), tuple(sorted(together))) for sources, together in made]


def together(plan: Plan, hosts: tuple[str, ...], others: tuple[str, ...]) -> str:
    """The name of exactly these hosts, if there is one; the one host on the other side need not be among them."""
    for wanted in (set(hosts), {*hosts, *others} if len(others) == 1 else set(hosts)):
        for name, members in plan.names.items():
            if members and {host.name for host in members} == wanted:
                return name
    order = [host.name for host in plan.hosts]
    return ", ".join(sorted(hosts, key=order.index))
