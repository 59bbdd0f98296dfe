"""Sets of packets on their way through the switches, by what the switches hold.

The connection tracker is taken as a set too: which conversations each zone may know, and under which mark. What it
says about a packet depends on what happened before; a *state* is one supposition about that, the same on all switches:

    first     nobody knows the conversation
    onward    every tracker that is asked knows it, and the packet goes the way of the first one
    answer    every tracker knows it, and the packet goes the other way
    related   an ICMP error about a conversation that every tracker knows, for one of its two hosts
    invalid   every tracker refuses to make sense of it
    any       each tracker may say any of first, onward, answer: whatever was lost or has expired somewhere
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from controllers.flow import CT_EST, CT_INV, CT_NEW, CT_REL, CT_RPL, CT_TRK, Action, Conntrack, Flow, Goto, Output
from controllers.space import FIELDS, LEVEL, Node, Ranges, Space
from controllers.tables import Ambiguous, Tables
from topo.plan import End, Plan

STATES = ("first", "onward", "answer", "related", "invalid", "any")
CONVERSATION = frozenset(LEVEL[name] for name in ("eth_type", "nw_src", "nw_dst", "nw_proto", "tp_src", "tp_dst"))
ICMP, TCP, UDP = 1, 6, 17
ICMP_ERRORS: Ranges = ((3, 5), (11, 12))
ICMP_ANSWERS = ((8, 0), (13, 14), (15, 16), (17, 18))

Memory: TypeAlias = Mapping[int, Node]  # zone -> conversation -> marks under which it is known
Pipeline: TypeAlias = tuple[tuple[int, Node], ...]  # (number, table), ascending
Context: TypeAlias = tuple[int, int, int]  # ct_state, ct_mark, in_port


@dataclass(frozen=True)
class Passage:
    """What became of a set on one switch: where it left, what was remembered, what cannot be judged."""

    out: tuple[tuple[int, Node], ...]
    commits: tuple[tuple[int, Node], ...]
    oddities: tuple[tuple[str, Node], ...]


@dataclass(frozen=True)
class Journey:
    """What became of everything that one host can send: host -> what arrives there."""

    arrived: Mapping[str, Node]
    commits: tuple[tuple[int, Node], ...]
    oddities: tuple[tuple[str, str, Node], ...]


class Walk:
    """Walks through the switches of a plan; what was walked once and has not changed is not walked again."""

    def __init__(self, plan: Plan) -> None:
        self.space = Space()
        self._tables = Tables(self.space)
        self._switches = [switch.name for switch in plan.switches]
        self._far = {own: far for node in plan.nodes for own, far in plan.links_of(node.name)}
        self._first = {host.name: plan.links_of(host.name)[0][1] for host in plan.hosts}
        self._passages: dict[Any, Passage] = {}

    def pipelines(self, flows: Iterable[Flow]) -> dict[str, Pipeline]:
        """Each switch's tables as diagrams."""
        grouped: dict[str, dict[int, list[Flow]]] = {name: {} for name in self._switches}
        for flow in flows:
            grouped[flow.switch].setdefault(flow.table, []).append(flow)
        return {
            name: tuple((number, self._tables.table(tables[number])) for number in sorted(tables))
            for name, tables in grouped.items()
        }

    def journey(self, pipelines: Mapping[str, Pipeline], host: str, state: str, memory: Memory) -> Journey:
        """Everything that ``host`` can put on its link, followed to where it arrives."""
        join = self.space.join
        arrived: dict[str, Node] = {}
        commits: list[tuple[int, Node]] = []
        oddities: list[tuple[str, str, Node]] = []
        ways = [(self._first[host], self.space.everything)]
        while ways:
            end, packets = ways.pop()
            passage = self._through(pipelines[end.node], end.port, packets, state, memory)
            commits += passage.commits
            oddities += [(end.node, what, where) for what, where in passage.oddities]
            for port, leaving in passage.out:
                far = self._far.get(End(end.node, port))
                if far is None:
                    continue
                if far.node in pipelines:
                    ways.append((far, leaving))
                else:
                    arrived[far.node] = join(arrived.get(far.node, self.space.nothing), leaving)
        return Journey(arrived, tuple(commits), tuple(oddities))

    def _through(self, pipeline: Pipeline, port: int, packets: Node, state: str, memory: Memory) -> Passage:
        known = () if state in ("first", "invalid") else tuple(sorted(memory.items()))
        key = (pipeline, port, packets, state, known)
        found = self._passages.get(key)
        if found is None:
            found = self._passages[key] = Passing(self.space, pipeline, port, state, memory).passage(packets)
        return found


class Passing:
    """One set's way through one switch."""

    def __init__(self, space: Space, pipeline: Pipeline, port: int, state: str, memory: Memory) -> None:
        self.space = space
        self.pipeline = pipeline
        self.port = port
        self.state = state
        self.memory = memory
        self.out: dict[int, Node] = {}
        self.commits: list[tuple[int, Node]] = []
        self.oddities: list[tuple[str, Node]] = []

    def passage(self, packets: Node) -> Passage:
        self._follow((0, 0, self.port), 0, packets)
        return Passage(tuple(self.out.items()), tuple(self.commits), tuple(self.oddities))

    def _follow(self, context: Context, table: int, packets: Node) -> None:
        """From one table on to the end; tables are visited in ascending order."""
        tables = self._restricted(context)
        waiting = {table: packets}
        while waiting:
            number = min(waiting)
            decided = self.space.within(waiting.pop(number), tables.get(number, self.space.leaf(())))
            for actions, part in self._parts(decided):
                self._do(actions, part, decided, number, waiting)

    def _restricted(self, context: Context) -> dict[int, Node]:
        return {number: restricted(table, context) for number, table in self.pipeline}

    def _parts(self, decided: Node) -> Iterator[tuple[tuple[Action, ...], Node]]:
        """What is done, marks aside, and to which packets."""
        space = self.space
        kinds = space.relabel(decided, _without_marks, "without marks")
        for kind in sorted(space.leaves(kinds), key=repr):
            part = space.relabel(kinds, lambda value, kind=kind: value == kind or None, ("is", kind))  # type: ignore[misc]
            if isinstance(kind, Ambiguous):
                self.oddities.append(("two flows of one priority match and differ", part))
                yield from ((choice, part) for choice in kind.choices)
            else:
                yield kind, part

    def _do(
        self, actions: tuple[Action, ...], part: Node, decided: Node, number: int, waiting: dict[int, Node]
    ) -> None:
        nothing, join = self.space.nothing, self.space.join
        for action in actions:
            if isinstance(action, Output):
                if action.port != self.port:  # a switch sends nothing back where it came from
                    self.out[action.port] = join(self.out.get(action.port, nothing), part)
            elif isinstance(action, Goto):
                if action.table <= number:
                    self.oddities.append((f"goes back from table {number} to {action.table}", part))
                    continue
                waiting[action.table] = join(waiting.get(action.table, nothing), part)
            else:
                self._track(action, part, decided, number)

    def _track(self, action: Conntrack, part: Node, decided: Node, number: int) -> None:
        if action.commit:
            marked = self.space.relabel(self.space.within(part, decided), _marks(action.zone), ("marks", action.zone))
            self.commits.append((action.zone, self.space.forget(marked, CONVERSATION)))
        if action.table is None:
            return
        if action.table <= number:
            self.oddities.append((f"goes back from table {number} to {action.table}", part))
            return
        for state, mark, said in self._said(action.zone):
            told = self.space.within(said, part)
            if told is not self.space.nothing:
                self._follow((state, mark, self.port), action.table, told)

    # --- the tracker ---------------------------------------------------------------------------------------

    def _said(self, zone: int) -> Iterable[tuple[int, int, Node]]:
        """What the tracker may say in this state: (ct_state, a mark that stands for all alike, to which packets)."""
        everything = self.space.everything
        known = self.memory.get(zone, self.space.nothing)
        new = (CT_TRK | CT_NEW, 0, everything)
        if self.state == "first":
            return [new]
        if self.state == "invalid":
            return [(CT_TRK | CT_INV, 0, everything)]
        onward = self._known(known, CT_TRK | CT_EST, lambda where: where)
        if self.state == "onward":
            return onward
        answer = self._known(known, CT_TRK | CT_EST | CT_RPL, lambda where: reverse(self.space, where))
        if self.state == "answer":
            return answer
        if self.state == "related":
            bits = (CT_TRK | CT_REL, CT_TRK | CT_REL | CT_RPL)
            return chain(*(self._known(known, each, lambda where: errors_about(self.space, where)) for each in bits))
        unanswered = self._known(known, CT_TRK | CT_NEW, lambda where: where)
        return chain([new], unanswered, onward, answer)

    def _known(self, known: Node, state: int, which: Any) -> list[tuple[int, int, Node]]:
        """The marks that the tables treat alike, together."""
        space = self.space
        key = (self.pipeline, known, state, self.port)
        memo = space.memo("alike")
        groups = memo.get(key)
        if groups is None:
            alike: dict[Any, list[int]] = {}
            for mark in sorted(frozenset().union(*space.leaves(known))):
                rest = tuple(restricted(table, (state, mark, self.port)) for _, table in self.pipeline)
                alike.setdefault(rest, []).append(mark)
            groups = memo[key] = [(marks[0], frozenset(marks)) for marks in alike.values()]
        return [(state, mark, which(marked(space, known, marks))) for mark, marks in groups]


def restricted(table: Node, context: Context) -> Node:
    """A table for packets of which these are known."""
    for level, value in enumerate(context):
        if table.level == level:
            table = table.at(value)
    return table


def marked(space: Space, known: Node, marks: frozenset[int]) -> Node:
    """The conversations that are known under one of some marks."""
    return space.relabel(known, lambda value: bool(value & marks) or None, ("marked", marks))


def reverse(space: Space, conversations: Node) -> Node:
    """The conversations' answers: addresses and ports changed round, ICMP's types replaced by those that answer."""
    memo = space.memo("reverse")
    found: Node | None = memo.get(conversations)
    if found is None:
        parts = [part for box, _ in space.boxes(conversations) for part in _reversed_box(box)]
        found = memo[conversations] = space.all(space.box(part) for part in parts)
    return found


def _reversed_box(box: Mapping[str, Ranges]) -> Iterator[dict[str, Ranges]]:
    turned = {{"nw_src": "nw_dst", "nw_dst": "nw_src"}.get(name, name): value for name, value in box.items()}
    source, target = turned.pop("tp_src", None), turned.pop("tp_dst", None)
    protocols = turned.pop("nw_proto", ((0, 255),))
    ported = _within(protocols, ((TCP, TCP), (UDP, UDP)))
    ports = {name: value for name, value in (("tp_src", target), ("tp_dst", source)) if value}
    if ported:
        yield {**turned, "nw_proto": ported, **ports}
    if _within(protocols, ((ICMP, ICMP),)):
        pairs = (*ICMP_ANSWERS, *((answer, ask) for ask, answer in ICMP_ANSWERS))
        for ask, answer in pairs:
            if source is None or _within(source, ((ask, ask),)):
                yield {**turned, "nw_proto": ((ICMP, ICMP),), "tp_src": ((answer, answer),)}
    if others := _within(protocols, ((0, 0), (2, 5), (7, 16), (18, 255))):
        yield {**turned, "nw_proto": others}


def _within(one: Ranges, other: Ranges) -> Ranges:
    spans = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return tuple(sorted((low, high) for low, high in spans if low <= high))


def errors_about(space: Space, conversations: Node) -> Node:
    """ICMP errors for either host of a conversation: trackers match what is quoted with whom it is told to."""
    memo = space.memo("errors")
    found: Node | None = memo.get(conversations)
    if found is None:
        hosts = [
            {"eth_type": ((0x0800, 0x0800),), **({"nw_dst": box[side]} if side in box else {})}
            for box, _ in space.boxes(space.forget(conversations, frozenset({LEVEL["nw_src"], LEVEL["nw_dst"]})))
            for side in ("nw_src", "nw_dst")
        ]
        errors = {"nw_proto": ((ICMP, ICMP),), "tp_src": ICMP_ERRORS}
        found = memo[conversations] = space.all(space.box({**host, **errors}) for host in hosts)
    return found


def _without_marks(value: Any) -> Any:
    if isinstance(value, Ambiguous):
        return value
    return tuple(
        Conntrack(action.zone, action.table, True) if isinstance(action, Conntrack) and action.commit else action
        for action in value
    )


def _marks(zone: int) -> Any:
    def marks(value: Any) -> frozenset[int]:
        every = value.choices if isinstance(value, Ambiguous) else (value,)
        return frozenset(
            action.mark
            for actions in every
            for action in actions
            if isinstance(action, Conntrack) and action.commit and action.zone == zone
        )

    return marks


assert tuple(FIELDS)[:3] == ("ct_state", "ct_mark", "in_port"), "a context is the first three levels"
