"""Sets of packets on their way through the switches, by what the switches hold.

What was followed once and has not changed is not followed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from controllers.flow import CT_TRK, Conntrack, Flow
from controllers.verify.hop import HopResult, HopSearch, Memory, Pipeline, asking_for_marks
from controllers.verify.packetset import Node, Space
from controllers.verify.tables import Ambiguous, Tables
from controllers.verify.tracker import FORGETFUL, SAID_OF_KNOWN
from topo.plan import Plan
from topo.wiring import End


@dataclass(frozen=True)
class HostReach:
    """The outcome of everything that one host can send: host -> the packets that arrive there."""

    arrived: Mapping[str, Node]
    commits: tuple[tuple[int, Node], ...]
    anomalies: tuple[tuple[str, str, Node], ...]


class Reachability:
    """The ways through the switches of a plan; what was followed once and has not changed is not followed again."""

    def __init__(self, plan: Plan) -> None:
        self.space = Space()
        self._tables = Tables(self.space)
        self._switches = [switch.name for switch in plan.switches]
        self._far = {own: far for node in plan.nodes for own, far in plan.links_of(node.name)}
        self._first = {host.name: plan.links_of(host.name)[0][1] for host in plan.hosts}
        self._hops: dict[Any, HopResult] = {}
        self._journeys: dict[Any, HostReach] = {}

    def pipelines(self, flows: Iterable[Flow]) -> dict[str, Pipeline]:
        """Each switch's tables as diagrams."""
        grouped: dict[str, dict[int, list[Flow]]] = {name: {} for name in self._switches}
        for flow in flows:
            grouped[flow.switch].setdefault(flow.table, []).append(flow)
        return {
            name: self._pipeline(tuple((number, self._tables.table(tables[number])) for number in sorted(tables)))
            for name, tables in grouped.items()
        }

    def _pipeline(self, tables: tuple[tuple[int, Node], ...]) -> Pipeline:
        memo = self.space.memo("pipelines")
        cached: Pipeline | None = memo.get(tables)
        if cached is None:
            zones = {zone for _, table in tables for leaf in self.space.leaves(table) for zone in _zones(leaf)}
            cached = memo[tables] = Pipeline(tables, tuple(sorted(zones)))
        return cached

    def apart(self, pipelines: Mapping[str, Pipeline], state: str, memory: Memory) -> tuple[Memory, ...]:
        """A memory for each kind of conversation that a packet may be about: its zones, and how it is treated.

        A switch that knows another conversation lets no error about this one pass.
        """
        known = []
        for zone, conversations in memory.items():
            tables = tuple(
                table for pipeline in pipelines.values() if zone in pipeline.zones for _, table in pipeline.tables
            )
            treated = partial(_treated, zone, tables, state)
            known.append(self.space.relabel(conversations, treated, ("treated", zone, tables, state)))
        kinds = self.space.parted(self.space.all(known), _itself, "itself")
        return tuple(
            {zone: self.space.within(kind, conversations) for zone, conversations in memory.items()}
            for kind in kinds.values()
        ) or ({},)

    def journey(self, pipelines: Mapping[str, Pipeline], host: str, state: str, memory: Memory) -> HostReach:
        """Everything that ``host`` can put on its link, followed to where it arrives."""
        remembered = () if state in FORGETFUL else tuple(sorted(memory.items()))
        key = (host, state, tuple(pipelines.values()), remembered)
        cached = self._journeys.get(key)
        if cached is None:
            cached = self._journeys[key] = self._travelled(pipelines, host, state, memory)
        return cached

    def _travelled(self, pipelines: Mapping[str, Pipeline], host: str, state: str, memory: Memory) -> HostReach:
        join = self.space.join
        arrived: dict[str, Node] = {}
        commits: list[tuple[int, Node]] = []
        anomalies: list[tuple[str, str, Node]] = []
        ways = [(self._first[host], self.space.everything)]
        while ways:
            end, packets = ways.pop()
            hop = self._through(pipelines[end.node], end.port, packets, state, memory)
            commits += hop.commits
            anomalies += [(end.node, what, where) for what, where in hop.anomalies]
            for port, leaving in hop.out:
                far = self._far.get(End(end.node, port))
                if far is None:
                    continue
                if far.node in pipelines:
                    ways.append((far, leaving))
                else:
                    arrived[far.node] = join(arrived.get(far.node, self.space.nothing), leaving)
        return HostReach(arrived, tuple(commits), tuple(anomalies))

    def _through(self, pipeline: Pipeline, port: int, packets: Node, state: str, memory: Memory) -> HopResult:
        known: tuple[Node | None, ...] = ()
        if state not in FORGETFUL:
            known = tuple(memory.get(zone) for zone in pipeline.zones)
        key = (pipeline, port, packets, state, known)
        cached = self._hops.get(key)
        if cached is None:
            cached = self._hops[key] = HopSearch(self.space, pipeline, port, state, memory).hop(packets)
        return cached


def _treated(zone: int, tables: Sequence[Node], state: str, marks: frozenset[int]) -> frozenset[object]:
    """The key that tells apart conversations of one zone: what the tables do with their marks."""
    asking = [table for bits, _ in SAID_OF_KNOWN[state] for table in asking_for_marks(tables, CT_TRK | bits)]
    ways = (tuple(table.at(mark) for table in asking) for mark in marks)
    return frozenset({(zone, frozenset(ways))})


def _itself(value: frozenset[object]) -> frozenset[object]:
    return value


def _zones(value: Any) -> set[int]:
    """The zones that a table's leaf has packets tracked in."""
    every = value.choices if isinstance(value, Ambiguous) else (value,)
    return {
        action.zone
        for actions in every
        for action in actions
        if isinstance(action, Conntrack) and action.table is not None
    }
