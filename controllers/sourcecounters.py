"""Packets per source, exactly: summed over the flows that only that host's packets can match.

    sent     IPv4 packets under its own address, at the switch that it hangs on
    begun    those of them that began a TCP connection which a rule allows
    loose    pings and datagrams that a rule allows: no handshake says that anybody wants them
    refused  those that no rule allows: at its own port, and at firewalls that let nothing of it pass; not by a block
    forged   frames that came by its port and are not bound there: another's address, a tag, another protocol

A host of the internet only: what others send to each other passes several switches, and is of no interest here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from controllers.compile import OWN_COOKIES
from controllers.ovs.flowcounters import FlowCount
from topo.plan import Plan

SENT, BEGUN, LOOSE, REFUSED, FORGED = "sent", "begun", "loose", "refused", "forged"
TCP, WITHOUT_HANDSHAKE = 6, (1, 17)
BOUND, SPOOFED, BLOCKED = (OWN_COOKIES[name] for name in ("bound", "spoofed", "block"))


def by_source(
    plan: Plan, rules: Mapping[int, tuple[str, str]], flows: Mapping[str, Iterable[FlowCount]]
) -> dict[str, dict[str, int]]:
    """{host: {"sent": packets, ...}}. ``rules``: name and action by cookie, ``flows``: by switch."""
    counts = {host.name: Counter[str]({SENT: 0}) for host in plan.hosts}
    for switch, counted in flows.items():
        for host, what, packets in _of_switch(plan, switch, rules, list(counted)):
            counts[host][what] += packets
    return {host: dict(count) for host, count in counts.items()}


def _of_switch(
    plan: Plan, switch: str, rules: Mapping[int, tuple[str, str]], flows: list[FlowCount]
) -> Iterator[tuple[str, str, int]]:
    hosts = {host.ip: host for host in plan.hosts}
    links = plan.links_of(switch)
    own = {end.port: plan.host(far.node) for end, far in links if not plan.is_switch(far.node)}
    allowing = [flow for flow in flows if rules.get(flow.cookie, ("", ""))[1] == "allow"]
    allowed = {address for flow in allowing for address in (flow.src, flow.dst)}
    for flow in flows:
        _, action = rules.get(flow.cookie, ("", ""))
        source = hosts.get(flow.src or "")
        if flow.cookie == BOUND and source:
            if own.get(flow.in_port or 0) == source:
                yield source.name, SENT, flow.packets
            elif source.zone == "internet" and source.ip not in allowed and plan.switch(switch).guards:
                yield source.name, REFUSED, flow.packets
        elif action == "allow" and source and flow.proto in (TCP, *WITHOUT_HANDSHAKE):
            yield source.name, BEGUN if flow.proto == TCP else LOOSE, flow.packets
        elif action == "deny" and flow.cookie != BLOCKED and (host := own.get(flow.in_port or 0) or source):
            yield host.name, FORGED if flow.cookie == SPOOFED else REFUSED, flow.packets
