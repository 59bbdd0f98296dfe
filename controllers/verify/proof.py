"""Oracle 2: what the flows on the switches let through is what the policy says - for every packet there is.

``Proof(plan).check(flows, rules, overlays)`` follows everything that each host can send to where it arrives
(reachability.py), and compares that, as sets, with what rules and overlays mean (intent.py). It shares nothing with
the compiler but the plan, and does not look at cookies. A proof that is asked again computes only what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from controllers.flow import Flow
from controllers.overlay import Overlay
from controllers.policy import Rule
from controllers.verify.hop import Memory, Pipeline
from controllers.verify.intent import Intent, Pair
from controllers.verify.packetset import Node
from controllers.verify.reachability import Reachability
from controllers.verify.tracker import STATES
from topo.plan import Plan


@dataclass(frozen=True)
class Reach:
    """Everything that arrives: state -> (from, to) -> packets. ``anomalies``: cases that OpenFlow leaves open."""

    arrived: Mapping[str, Mapping[Pair, Node]]
    memory: Memory
    anomalies: tuple[tuple[str, str, str, Node], ...]


@dataclass(frozen=True)
class Difference:
    """Packets from ``src`` to ``dst`` of which policy and flows disagree. ``excess``: they arrive and must not."""

    src: str
    dst: str
    state: str
    excess: bool
    packets: Node


@dataclass(frozen=True)
class Checked:
    """The result of a proof; it ``holds`` when policy and flows agree about every packet."""

    differences: tuple[Difference, ...]
    reach: Reach

    @property
    def holds(self) -> bool:
        return not self.differences and not self.reach.anomalies


class Proof:
    """Proves flows of one plan. Keep it for the next proof: that will be quicker."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._reachability = Reachability(plan)
        self.space = self._reachability.space
        self._intent = Intent(plan, self.space)

    def check(self, flows: Iterable[Flow], rules: Iterable[Rule], overlays: Iterable[Overlay] = ()) -> Checked:
        """Desired state and flows compared over the whole space.

        Raises RefusedError for a flow that cannot be proved.
        """
        reach = self.reach(flows)
        expected = self.expected(rules, overlays)
        nothing = self.space.nothing
        differences = []
        for state, pairs in expected.items():
            for pair, intended in pairs.items():
                seen = reach.arrived[state].get(pair, nothing)
                if seen is intended:
                    continue
                for excess, packets in (
                    (True, self.space.minus(seen, intended)),
                    (False, self.space.minus(intended, seen)),
                ):
                    if packets is not nothing:
                        differences.append(Difference(*pair, state, excess, packets))
        return Checked(tuple(differences), reach)

    def expected(self, rules: Iterable[Rule], overlays: Iterable[Overlay] = ()) -> dict[str, dict[Pair, Node]]:
        """The packets that rules and overlays mean to arrive: state -> (from, to) -> packets."""
        return self._intent.expected(rules, overlays)

    def reach(self, flows: Iterable[Flow]) -> Reach:
        """The packets that the flows let through."""
        pipelines = self._reachability.pipelines(flows)
        memory = self._memory(pipelines)
        arrived: dict[str, dict[Pair, Node]] = {state: {} for state in STATES}
        anomalies: dict[tuple[str, str, str, Node], None] = {}
        for state in STATES:
            supposed = self._reachability.apart(pipelines, state, memory) if state == "related" else (memory,)
            for host, known in product(self.plan.hosts, supposed):
                journey = self._reachability.journey(pipelines, host.name, state, known)
                for dst, packets in journey.arrived.items():
                    if dst != host.name:
                        pair = host.name, dst
                        arrived[state][pair] = self.space.join(arrived[state].get(pair, self.space.nothing), packets)
                anomalies |= {(host.name, *anomaly): None for anomaly in journey.anomalies}
        return Reach(arrived, memory, tuple(anomalies))

    def _memory(self, pipelines: Mapping[str, Pipeline]) -> Memory:
        """Every conversation that any zone may come to know: first packets', then all that follows from those."""
        memory: dict[int, Node] = {}
        state = "first"
        while True:
            grown = dict(memory)
            for host in self.plan.hosts:
                for zone, marks in self._reachability.journey(pipelines, host.name, state, memory).commits:
                    grown[zone] = self.space.join(grown.get(zone, self.space.nothing), marks)
            if grown == memory:
                return memory
            memory, state = grown, "any"
