"""A set of packets on its way through one switch: a hop, which is made of segments, between which a tracker is asked.

The connection tracker is taken as a set too: which conversations each zone may know, and under which mark. What it
says about them is supposed (tracker.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from controllers.flow import CT_TRK, Action, Conntrack, Goto, Output, Sample, SetField
from controllers.verify.packetset import FIELDS, LEVEL, Node, Space
from controllers.verify.tables import SHARED, Ambiguous, value_ranges
from controllers.verify.tracker import FORGETFUL, SAID_OF_KNOWN, SAID_OF_UNKNOWN, Which, marked

CONVERSATION = frozenset(LEVEL[name] for name in ("eth_type", "nw_src", "nw_dst", "nw_proto", "tp_src", "tp_dst"))

Memory: TypeAlias = Mapping[int, Node]  # zone -> conversation -> marks under which it is known
Context: TypeAlias = tuple[int, int, int]  # ct_state, ct_mark, in_port


@dataclass(eq=False)
class Pipeline:
    """A switch's tables by number, ascending, and the zones that they ask. Equal ones are one object."""

    tables: tuple[tuple[int, Node], ...]
    zones: tuple[int, ...]


@dataclass(frozen=True)
class HopResult:
    """The outcome of a hop: packets by the port that they left, new conversations, and anomalies.

    An anomaly is what a table does though OpenFlow leaves its effect open: it cannot be judged.
    """

    out: tuple[tuple[int, Node], ...]
    commits: tuple[tuple[int, Node], ...]
    anomalies: tuple[tuple[str, Node], ...]


@dataclass(frozen=True)
class SegmentResult:
    """A part of a hop in which no tracker is asked. ``tracked``: (zone, next table, packets)."""

    out: tuple[tuple[int, Node], ...]
    commits: tuple[tuple[int, Node], ...]
    anomalies: tuple[tuple[str, Node], ...]
    tracked: tuple[tuple[int, int, Node], ...]


class HopSearch:
    """One set's way through one switch, in one state."""

    def __init__(self, space: Space, pipeline: Pipeline, port: int, state: str, memory: Memory) -> None:
        self.space = space
        self.pipeline = pipeline
        self.port = port
        self.state = state
        self.memory = memory
        self.out: dict[int, Node] = {}
        self.commits: list[tuple[int, Node]] = []
        self.anomalies: list[tuple[str, Node]] = []

    def hop(self, packets: Node) -> HopResult:
        self._follow((0, 0, self.port), 0, packets)
        return HopResult(tuple(self.out.items()), tuple(self.commits), tuple(self.anomalies))

    def _follow(self, context: Context, table: int, packets: Node) -> None:
        """From one table on to the end, and again from wherever the tracker is asked."""
        segment = self._segment(context, table, packets)
        for port, leaving in segment.out:
            self.out[port] = self.space.join(self.out.get(port, self.space.nothing), leaving)
        self.commits += segment.commits
        self.anomalies += segment.anomalies
        for zone, onward, part in segment.tracked:
            for state, mark, said in self._said(zone):
                answered = self.space.within(said, part)
                if answered is not self.space.nothing:
                    self._follow((state, mark, self.port), onward, answered)

    def _segment(self, context: Context, table: int, packets: Node) -> SegmentResult:
        """Remembered under what the first table decides: mostly the same when one rule has changed."""
        tables = self._restricted(context, table)
        decided = self.space.within(packets, tables[0][1]) if tables and tables[0][0] == table else self.space.nothing
        memo = self.space.memo("segments")
        key = (tables[1:], self.port, table, decided)
        result: SegmentResult | None = memo.get(key)
        if result is None:
            result = memo[key] = SegmentSearch(self.space, tables[1:], self.port).segment(table, decided)
        return result

    def _restricted(self, context: Context, first: int) -> tuple[tuple[int, Node], ...]:
        memo = self.space.memo("restricted")
        key = (self.pipeline, context, first)
        tables: tuple[tuple[int, Node], ...] | None = memo.get(key)
        if tables is None:
            later = ((number, table) for number, table in self.pipeline.tables if number >= first)
            tables = memo[key] = tuple((number, restricted(table, context)) for number, table in later)
        return tables

    # --- the tracker ---------------------------------------------------------------------------------------

    def _said(self, zone: int) -> list[tuple[int, int, Node]]:
        """The tracker's possible answers in this state: (ct_state, a mark that stands for all alike, the packets)."""
        known = self.memory.get(zone, self.space.nothing)
        memo = self.space.memo("said")
        key = (self.pipeline, self.port, self.state, None if self.state in FORGETFUL else known)
        answers: list[tuple[int, int, Node]] | None = memo.get(key)
        if answers is None:
            unknown = SAID_OF_UNKNOWN.get(self.state)
            answers = [] if unknown is None else [(CT_TRK | unknown, 0, self.space.everything)]
            for bits, which in SAID_OF_KNOWN.get(self.state, ()):
                answers += self._of_known(known, CT_TRK | bits, which)
            memo[key] = answers
        return answers

    def _of_known(self, known: Node, state: int, which: Which) -> Iterator[tuple[int, int, Node]]:
        """The marks that the tables treat alike, together."""
        asking = asking_for_marks((table for _, table in self.pipeline.tables), state)
        alike: dict[Any, list[int]] = {}
        for mark in sorted(frozenset().union(*self.space.leaves(known))):
            rest = tuple(restricted(table, (state, mark, self.port)) for table in asking)
            alike.setdefault(rest, []).append(mark)
        for marks in alike.values():
            yield state, marks[0], which(self.space, marked(self.space, known, frozenset(marks)))


class SegmentSearch:
    """One set's way through tables in ascending order, until it leaves or the tracker is asked."""

    def __init__(self, space: Space, tables: tuple[tuple[int, Node], ...], port: int) -> None:
        self.space = space
        self.tables = dict(tables)
        self.port = port
        self.waiting: dict[int, Node] = {}
        self.out: dict[int, Node] = {}
        self.commits: list[tuple[int, Node]] = []
        self.anomalies: list[tuple[str, Node]] = []
        self.tracked: list[tuple[int, int, Node]] = []

    def segment(self, number: int, decided: Node) -> SegmentResult:
        """From what table ``number`` has decided on."""
        self._carry_out(number, decided)
        while self.waiting:
            number = min(self.waiting)
            table = self.tables.get(number, self.space.nothing)
            self._carry_out(number, self.space.within(self.waiting.pop(number), table))
        return SegmentResult(tuple(self.out.items()), tuple(self.commits), tuple(self.anomalies), tuple(self.tracked))

    def _carry_out(self, number: int, decided: Node) -> None:
        for actions, part in self._parts(decided):
            packets = part
            for action in actions:
                if isinstance(action, SetField):
                    packets = self._written(packets, action)
                elif isinstance(action, Conntrack) and packets is not part:
                    self.anomalies.append(("tracks packets that it has rewritten", part))
                else:
                    self._do(action, packets, decided, number)

    def _written(self, packets: Node, action: SetField) -> Node:
        name = SHARED.get(action.field, action.field)
        ((value, _),) = value_ranges(action.field, action.value, FIELDS[name])
        return self.space.replace(packets, LEVEL[name], value)

    def _parts(self, decided: Node) -> Iterator[tuple[tuple[Action, ...], Node]]:
        """Actions, marks aside, and the packets that they are done to."""
        for kind, part in self.space.parted(decided, _without_marks, "without marks").items():
            if isinstance(kind, Ambiguous):
                self.anomalies.append(("two flows of one priority match and differ", part))
                yield from ((choice, part) for choice in kind.choices)
            else:
                yield kind, part

    def _do(self, action: Output | Goto | Conntrack | Sample, part: Node, decided: Node, number: int) -> None:
        if isinstance(action, Output):
            if action.port != self.port:  # a switch sends nothing back where it came from
                self._add(self.out, action.port, part)
            return
        if isinstance(action, Conntrack) and action.commit:
            marked = self.space.relabel(self.space.within(part, decided), _marks(action.zone), ("marks", action.zone))
            self.commits.append((action.zone, self.space.forget(marked, CONVERSATION)))
        if isinstance(action, Sample) or action.table is None:
            return
        if action.table <= number:
            self.anomalies.append((f"goes back from table {number} to {action.table}", part))
        elif isinstance(action, Goto):
            self._add(self.waiting, action.table, part)
        else:
            self.tracked.append((action.zone, action.table, part))

    def _add(self, sets: dict[int, Node], number: int, part: Node) -> None:
        sets[number] = self.space.join(sets.get(number, self.space.nothing), part)


def restricted(table: Node, context: Sequence[int]) -> Node:
    """A table for packets of which these are known."""
    for level, value in enumerate(context):
        if table.level == level:
            table = table.at(value)
    return table


def asking_for_marks(tables: Iterable[Node], state: int) -> list[Node]:
    """Those of some tables, for packets in a state, that treat marks differently at all."""
    return [table for table in (restricted(whole, (state,)) for whole in tables) if table.level == LEVEL["ct_mark"]]


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
