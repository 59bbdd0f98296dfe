"""Slips in one flow, or between two of one table: what a wrong flow may look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypeAlias

from controllers.compile import ARP, ARP_TYPE, FORWARD, IPV4, POLICY
from controllers.flow import CT_EST, CT_NEW, Action, Flow, Goto, MatchValue, Output, Sample
from topo.plan import Plan

Flows: TypeAlias = tuple[Flow, ...]
Slip: TypeAlias = tuple[str, Flows]  # what it was in words, and what the switches hold then

ADDRESSES = ("ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa")
MACS = ("eth_src", "eth_dst", "arp_sha")
PORTS = ("tcp_dst", "udp_dst", "icmpv4_type")


def flow_slip(plan: Plan, flows: Flows, kind: str, random: Random) -> Slip | None:
    """One of that kind, drawn; None when the drawn flow has none."""
    at = random.randrange(len(flows))
    flow = flows[at]
    if kind in ("swap", "reorder"):
        return _exchanged(flows, at, kind, random)
    if kind == "delete":
        return f"{flow.switch}: {flow.text()} is gone", (*flows[:at], *flows[at + 1 :])
    made = CHANGES[kind](plan, flow, random)
    if made is None or made == flow:
        return None
    return f"{flow.switch}: {flow.text()} became {made.text()}", _settled((*flows[:at], made, *flows[at + 1 :]))


def _exchanged(flows: Flows, at: int, kind: str, random: Random) -> Slip | None:
    """Two flows of one table that exchange what they do, or which stands higher."""
    one, field = flows[at], {"swap": "actions", "reorder": "priority"}[kind]
    others = [
        each
        for each in flows
        if (each.switch, each.table) == (one.switch, one.table) and getattr(each, field) != getattr(one, field)
    ]
    if not others:
        return None
    other = random.choice(others)
    new = {a: replace(a, **{field: getattr(b, field)}) for a, b in ((one, other), (other, one))}
    what = f"{one.switch}: {one.text()} and {other.text()} have exchanged their {field}"
    return what, _settled(tuple(new.get(each, each) for each in flows))


def _settled(flows: Flows) -> Flows:
    """As a switch would hold them: of two flows with the same place and match the later replaces the earlier."""
    held = {(each.switch, each.table, each.priority, frozenset(each.match)): each for each in flows}
    return tuple(held.values())


def _widened(plan: Plan, flow: Flow, random: Random) -> Flow | None:  # noqa: ARG001 - as the others
    names = [name for name, _ in flow.match]
    needed = {"eth_type"} | ({"ip_proto"} if set(names) & set(PORTS) else set())
    loose = [name for name in names if name not in needed]
    if not loose:
        return None
    name = random.choice(loose)
    if name in ADDRESSES and random.random() < 0.5:
        network = _address(str(dict(flow.match)[name])) & 0xFFFFFF00
        return _with(flow, name, (network, 0xFFFFFF00))
    return replace(flow, match=tuple(each for each in flow.match if each[0] != name))


def _narrowed(plan: Plan, flow: Flow, random: Random) -> Flow | None:
    names = {name for name, _ in flow.match}
    kind = dict(flow.match).get("eth_type")
    ends = [end.port for end, _ in plan.links_of(flow.switch)]
    host = random.choice(plan.hosts)
    more: dict[str, MatchValue] = {"in_port": random.choice(ends), "eth_src": host.mac, "eth_dst": host.mac}
    if kind == IPV4:
        more |= {"ipv4_src": host.ip, "ipv4_dst": host.ip, "ip_proto": random.choice([1, 6, 17])}
    elif kind == ARP_TYPE:
        more |= {"arp_spa": host.ip, "arp_tpa": host.ip}
    possible = {name: value for name, value in more.items() if name not in names}
    name = random.choice(sorted(possible))
    return replace(flow, match=(*flow.match, (name, possible[name])))


def _mistyped(plan: Plan, flow: Flow, random: Random) -> Flow | None:
    slips: list[Callable[[], Flow]] = [
        lambda name=name, value=value: _with(flow, name, _slipped(plan, name, value, random))  # type: ignore[misc]
        for name, value in flow.match
        if name not in ("eth_type", "vlan_vid")
        and (name != "ip_proto" or not {each for each, _ in flow.match} & set(PORTS))
    ]
    slips += [lambda: replace(flow, actions=_other_actions(plan, flow, random))]
    return random.choice(slips)()


def _slipped(plan: Plan, name: str, value: MatchValue, random: Random) -> MatchValue:
    host = random.choice(plan.hosts)
    if name in ADDRESSES:
        return host.ip
    if name in MACS:
        return host.mac
    if name == "ct_state":
        assert isinstance(value, tuple)
        return (value[0] ^ (CT_NEW | CT_EST), value[1] | CT_NEW | CT_EST)
    if name == "ip_proto":
        return random.choice([1, 6, 17, 47])
    assert isinstance(value, int)
    return value ^ (1 << random.randrange(4)) if name != "in_port" else value % 8 + 1


def _other_actions(plan: Plan, flow: Flow, random: Random) -> tuple[Action, ...]:
    """An action with one number wrong; where there is none, the packet goes on; or it does not."""
    ends = [end.port for end, _ in plan.links_of(flow.switch)]
    if flow.drops:
        later = [each for each in (POLICY, FORWARD, ARP) if each > flow.table]
        is_arp = flow.table in (FORWARD, ARP)
        return (Output(random.choice(ends)),) if is_arp or not later else (Goto(random.choice(later)),)
    if random.random() < 0.3:
        return ()
    at = random.randrange(len(flow.actions))
    action = flow.actions[at]
    assert not isinstance(action, Sample)
    if isinstance(action, Output):
        wrong: Action = Output(random.choice(ends))
    elif isinstance(action, Goto):
        wrong = Goto(min(action.table + 1, ARP))
    elif random.random() < 0.5:
        wrong = replace(action, zone=action.zone % len(plan.switches) + 1)
    else:
        wrong = replace(action, mark=action.mark ^ 1) if action.commit else replace(action, zone=action.zone + 1)
    return (*flow.actions[:at], wrong, *flow.actions[at + 1 :])


def _with(flow: Flow, name: str, value: MatchValue) -> Flow:
    return replace(flow, match=tuple((each, value if each == name else kept) for each, kept in flow.match))


def _address(text: str) -> int:
    return sum(int(part) << shift for part, shift in zip(text.split("."), (24, 16, 8, 0), strict=True))


CHANGES = {"widen": _widened, "narrow": _narrowed, "mistype": _mistyped}
