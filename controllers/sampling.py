"""Denied packets are sampled: the controller gets the first bytes of some, and a flood of them does not load it.

Every flow that drops tells the controller, but for fences and faults, which say nothing about the packet's sender. It
does so through a meter, which the datapath itself keeps: what exceeds it costs the switch no more than any drop, and
the controller nothing. All packets are counted by their flow, sampled or not.

There is a meter for each (rule, port) of a switch, so that a flood takes the samples of its own rule and port only:
it does not hide the denied packets of other rules and ports. One more meter, the switch's own for everything that
goes to its controller, bounds the sum, however many rules there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from controllers.flow import Flow, MatchValue, Sample
from topo.plan import Plan
from topo.wiring import Switch

#: packets a second, and how many at once: of one rule by one port, and of a whole switch
RATE, BURST = 10, 20
SWITCH_RATE, SWITCH_BURST = 50, 100
#: the meter of a port whose host is blocked is above all those of rules: it need not move when the policy changes
BLOCKED = 60_000


def sampled(plan: Plan, switch: Switch, flows: Iterable[Flow]) -> Iterator[Flow]:
    """A switch's flows, in which those that drop tell the controller.

    A flow that drops whatever port a packet came by stays as it is, for ports that the plan does not know, and gets a
    copy above it for each port that it does know.
    """
    known: dict[tuple[int, int], Sample] = {}
    ports = {host.ip: end.port for end, _ in plan.links_of(switch.name) for host in plan.behind(end)}

    def meter(flow: Flow, port: int) -> Sample:
        return known.setdefault((flow.cookie, port), Sample(len(known) + 1))

    for flow in flows:
        source = dict(flow.match).get("ipv4_src")
        if not flow.drops:
            yield flow
        elif source is not None:  # a host's packets come by its port: every other has been refused as spoofed
            yield replace(flow, actions=(meter(flow, ports[str(source)]),))
        else:
            for port in dict.fromkeys(ports.values()):
                at: tuple[tuple[str, MatchValue], ...] = (("in_port", port), *flow.match)
                yield replace(flow, priority=flow.priority + 1, match=at, actions=(meter(flow, port),))
            yield flow


def blocked(port: int) -> Sample:
    """The sample of what a block drops at a port."""
    return Sample(BLOCKED + port)


def unsampled(flows: Iterable[Flow], switches: Collection[str]) -> tuple[Flow, ...]:
    """The flows as they are when these switches have no meters."""
    return tuple(replace(flow, actions=()) if flow.drops and flow.switch in switches else flow for flow in flows)


def meters(flows: Iterable[Flow]) -> dict[str, set[int]]:
    """The meters of a rule by a port that flows name, by switch."""
    named: dict[str, set[int]] = {}
    for flow in flows:
        for action in flow.actions:
            if isinstance(action, Sample):
                named.setdefault(flow.switch, set()).add(action.meter)
    return named


def most(flows: Iterable[Flow], seconds: float) -> float:
    """The largest number of samples that the switches can have sent in that time, whatever was sent to them."""
    whole = SWITCH_RATE * seconds + SWITCH_BURST
    return sum(min(whole, len(numbers) * (RATE * seconds + BURST)) for numbers in meters(flows).values())
