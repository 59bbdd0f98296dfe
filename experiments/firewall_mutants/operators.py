"""Mutation operators: each changes one rule of the policy, as an editor may, or one flow, or two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import TypeAlias

from controllers.compile import ARP, ARP_TYPE, FORWARD, IPV4, POLICY, compile_flows
from controllers.flow import CT_EST, CT_INV, CT_NEW, Action, Conntrack, Flow, Goto, MatchValue, Output, Sample, SetField
from controllers.policy import DENY_REST, Rule
from controllers.verify.packetset import Ranges
from controllers.verify.tables import constraints
from topo.errors import PolicyError
from topo.plan import ANY, Plan

Flows: TypeAlias = tuple[Flow, ...]
Mutation: TypeAlias = tuple[str, Flows]  # in words, and the flows that the switches hold then

ADDRESSES = ("ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa")
MACS = ("eth_src", "eth_dst", "arp_sha")
PORTS = ("tcp_dst", "udp_dst", "icmpv4_type")


# --- rules -----------------------------------------------------------------------------------------------------------


def rule_mutation(plan: Plan, rules: tuple[Rule, ...], kind: str, random: Random) -> Mutation | None:
    """One of that kind, drawn, and the flows that its policy becomes; None when the policy is refused."""
    at = random.randrange(len(rules) - 1)
    rule = rules[at]
    if kind == "delete":
        what, new = f"rule {rule.name} is gone", (*rules[:at], *rules[at + 1 :])
    elif kind == "reorder":
        rest = [other for other in rules[:-1] if other != rule]
        rest.insert(random.randrange(len(rules) - 1), rule)
        what, new = f"rule {rule.name} stands elsewhere", (*rest, DENY_REST)
    else:
        made = random.choice(list(_mistaken(plan, rule, kind, random)))
        what, new = f"rule {_in_words(rule)} became {_in_words(made)}", (*rules[:at], made, *rules[at + 1 :])
    try:
        return what, compile_flows(plan, new)
    except PolicyError:
        return None


def _mistaken(plan: Plan, rule: Rule, kind: str, random: Random) -> Iterator[Rule]:
    """The mistakes that may be made in one rule; every kind has at least one."""
    names = sorted(plan.names)
    if kind == "swap":
        yield replace(rule, src=rule.dst, dst=rule.src)
    elif kind == "widen":
        yield replace(rule, src=ANY)
        yield replace(rule, dst=ANY)
        yield replace(rule, port=None)
        if isinstance(rule.port, int) and rule.proto != "icmp":  # its neighbours' types begin nothing
            yield replace(rule, port=((max(0, rule.port - 1), rule.port + 1),))
    elif kind == "narrow":
        yield replace(rule, src=random.choice(plan.names[rule.src.split(",")[0]] or plan.hosts).name)
        yield replace(rule, dst=random.choice(plan.names[rule.dst.split(",")[0]] or plan.hosts).name)
    else:
        yield replace(rule, src=random.choice(names))
        yield replace(rule, dst=random.choice(names))
        yield replace(rule, proto=random.choice([proto for proto in ("tcp", "udp", "icmp") if proto != rule.proto]))
        yield replace(rule, action="deny" if rule.action == "allow" else "allow")
        if isinstance(rule.port, int):
            yield replace(rule, port=rule.port ^ (1 << random.randrange(6)))


def _in_words(rule: Rule) -> str:
    return f"{rule.name} ({rule.action} {rule.src} -> {rule.dst} {rule.what})"


# --- flows -----------------------------------------------------------------------------------------------------------


def flow_mutation(plan: Plan, flows: Flows, kind: str, random: Random) -> Mutation | None:
    """One of that kind, drawn; None when the drawn flow has none that a switch takes and OpenFlow gives one meaning."""
    at = random.randrange(len(flows))
    flow = flows[at]
    if _is_of_pieces(flow):
        return None
    if kind == "delete":
        return f"{flow.switch}: {flow.text()} is gone", (*flows[:at], *flows[at + 1 :])
    if kind in EXCHANGES:
        mutation = EXCHANGES[kind](flows, flow, random)
    else:
        mutation = _changed(flows, at, CHANGES[kind](plan, flow, random))
    return mutation if mutation and _has_one_meaning(flows, mutation[1]) else None


def _changed(flows: Flows, at: int, made: Flow | None) -> Mutation | None:
    flow = flows[at]
    if made is None or made == flow:
        return None
    return f"{flow.switch}: {flow.text()} became {made.text()}", _settled((*flows[:at], made, *flows[at + 1 :]))


def _exchanged(flows: Flows, one: Flow, random: Random) -> Mutation | None:
    """Two flows of one table exchange what they do."""
    others = [other for other in _beside(flows, one) if other.actions != one.actions]
    if not others:
        return None
    other = random.choice(others)
    new = {one: replace(one, actions=other.actions), other: replace(other, actions=one.actions)}
    what = f"{one.switch}: {one.text()} and {other.text()} have exchanged their actions"
    return what, _settled(tuple(new.get(flow, flow) for flow in flows))


def _reordered(flows: Flows, one: Flow, random: Random) -> Mutation | None:
    """A flow stands just above one that it should stand below, and that matches some of the same packets."""
    asked = dict(constraints(one))
    others = [
        other
        for other in _beside(flows, one)
        if other.priority > one.priority and _overlap(asked, dict(constraints(other)))
    ]
    if not others:
        return None
    other = random.choice(others)
    made = replace(one, priority=other.priority + 1)
    what = f"{one.switch}: {one.text()} stands above {other.text()}"
    return what, _settled(tuple(made if flow == one else flow for flow in flows))


def _beside(flows: Flows, one: Flow) -> list[Flow]:
    return [
        flow
        for flow in flows
        if (flow.switch, flow.table) == (one.switch, one.table) and flow != one and not _is_of_pieces(flow)
    ]


def _is_of_pieces(flow: Flow) -> bool:
    """Does it drop first or later fragments? A mutation of one of these two shows in no packet.

    For a tracker holds pieces back until it has all of them.
    """
    return any(name == "ip_frag" for name, _ in flow.match)


def _settled(flows: Flows) -> Flows:
    """As a switch would hold them: of two flows with the same place and match the later replaces the earlier."""
    held = {(flow.switch, flow.table, flow.priority, frozenset(flow.match)): flow for flow in flows}
    return tuple(held.values())


def _has_one_meaning(old: Flows, new: Flows) -> bool:
    """A switch takes every changed flow, and none contradicts one of its own priority."""
    known = set(old)
    changed = [flow for flow in new if flow not in known]
    return all(_is_taken(one) and not any(_contradict(one, other) for other in new) for one in changed)


def _is_taken(flow: Flow) -> bool:
    """A switch tracks only IP, and remembers nothing that its tracker calls invalid."""
    match, asked = dict(flow.match), [action for action in flow.actions if isinstance(action, Conntrack)]
    state = match.get("ct_state", (0, 0))
    invalid = isinstance(state, tuple) and bool(state[0] & CT_INV)
    return not asked or (match.get("eth_type") == IPV4 and not (invalid and any(action.commit for action in asked)))


def _contradict(one: Flow, other: Flow) -> bool:
    return (
        (one.switch, one.table, one.priority) == (other.switch, other.table, other.priority)
        and one.actions != other.actions
        and _overlap(dict(constraints(one)), dict(constraints(other)))
    )


def _overlap(one: Mapping[int, Ranges], other: Mapping[int, Ranges]) -> bool:
    return all(
        any(a <= d and c <= b for a, b in one[level] for c, d in other[level]) for level in one.keys() & other.keys()
    )


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
    return replace(flow, match=tuple(field for field in flow.match if field[0] != name))


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
    changes: list[Callable[[], Flow]] = [
        lambda name=name, value=value: _with(flow, name, _other_value(plan, name, value, random))  # type: ignore[misc]
        for name, value in flow.match
        if name not in ("eth_type", "vlan_vid")
        and (name != "ip_proto" or not {other for other, _ in flow.match} & set(PORTS))
    ]
    changes += [lambda: replace(flow, actions=_other_actions(plan, flow, random))]
    return random.choice(changes)()


def _other_value(plan: Plan, name: str, value: MatchValue, random: Random) -> MatchValue:
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
        later = [table for table in (POLICY, FORWARD, ARP) if table > flow.table]
        is_arp = flow.table in (FORWARD, ARP)
        return (Output(random.choice(ends)),) if is_arp or not later else (Goto(random.choice(later)),)
    if random.random() < 0.3:
        return ()
    at = random.randrange(len(flow.actions))
    action = flow.actions[at]
    assert not isinstance(action, Sample | SetField)
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
    return replace(flow, match=tuple((field, value if field == name else kept) for field, kept in flow.match))


def _address(text: str) -> int:
    return sum(int(part) << shift for part, shift in zip(text.split("."), (24, 16, 8, 0), strict=True))


EXCHANGES = {"swap": _exchanged, "reorder": _reordered}
CHANGES = {"widen": _widened, "narrow": _narrowed, "mistype": _mistyped}
