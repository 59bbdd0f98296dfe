"""From plan and policy to flows: pure, so every table can be read, proved and tested with no switch running.

A packet's way through a switch:

    BIND     is it what this port's host may send?  (its own MAC and address, untagged whole IPv4 or ARP)
    TRACK    does this switch decide about it, or only pass it on to the firewall that does?
    POLICY   which rule allows it?  Connections are remembered under the number of the rule that allowed them
    FORWARD  which port leads to the destination?  Static, from the plan: no learning, the controller is not asked
    ARP      requests and answers go straight to the host they ask for: no flooding

What is dropped on this way is sampled to the controller (sampling.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, permutations

from controllers import policy as policies
from controllers.flow import (
    CT_EST,
    CT_INV,
    CT_NEW,
    CT_REL,
    CT_TRK,
    FRAGMENTS,
    Action,
    Conntrack,
    Flow,
    Goto,
    MatchValue,
    Output,
    SetField,
)
from controllers.overlay import Divert, Match, Overlay
from controllers.policy import Rule
from controllers.sampling import blocked, sampled
from topo.errors import PolicyError
from topo.plan import ANY, Host, Plan
from topo.wiring import Switch

BIND, TRACK, POLICY, FORWARD, ARP = range(5)
TABLE_NAMES = ("bind", "track", "policy", "forward", "arp")

IPV4, ARP_TYPE, UNTAGGED = 0x0800, 0x0806, 0
PROTO_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
PROTO_NAMES = {number: name for name, number in PROTO_NUMBERS.items()}
PORT_FIELDS = {"icmp": "icmpv4_type", "tcp": "tcp_dst", "udp": "udp_dst"}

MOST_FLOWS = 200_000  # a rule makes one for each pair of hosts, and each mask of its ports

# Cookies are rule numbers, counted from 1, but for a thousand that name the flows which no rule stands for.
FIRST_OWN_COOKIE, OWN_ROOM = 1000, 1000
OWN_COOKIES = {
    "bound": 1000,
    "spoofed": 1001,
    "tracked": 1002,
    "passed-on": 1003,
    "invalid": 1004,
    "related": 1005,
    "forward": 1006,
    "no-route": 1007,
    "arp": 1008,
    "arp-unknown": 1009,
    "fence": 1010,
    "black-hole": 1011,
    "fragment": 1012,
    "redirect": 1013,
    "block": 1014,
}

# One rule makes flows of one priority; priorities fall by one for each rule. The rest stands above or below them.
DEFAULT, SPECIFIC, PIECE = 0, 100, 250
FIRST_RULE, ESTABLISHED, RELATED, INVALID = 30000, 40000, 40001, 40002

TRACKED = CT_TRK | CT_NEW | CT_EST | CT_REL | CT_INV


def compile_flows(plan: Plan, rules: tuple[Rule, ...]) -> tuple[Flow, ...]:
    """All flows of all switches. Raises PolicyError when a rule is wrong, before anything is compiled, and when there
    would be more flows than switches take, and can be proved, in a few seconds."""
    policies.validate(rules, plan)
    each = (flow for switch in plan.switches for flow in sampled(plan, switch, _switch_flows(plan, switch, rules)))
    flows = tuple(islice(each, MOST_FLOWS + 1))
    if len(flows) > MOST_FLOWS:
        many = f"{len(rules)} rules become more than {MOST_FLOWS:,} flows"
        raise PolicyError(f"policy: {many}: name fewer hosts or ports")
    return flows


def overlay_flows(plan: Plan, overlay: Overlay) -> tuple[Flow, ...]:
    """An overlay's flows on its switch: in the first table, above what is bound, so that no tracker is asked.

    Packets of exempt hosts are bound as ever, one priority above, and the policy decides about them.
    """
    switch, match = plan.switch(overlay.match.switch), overlay.match
    ways = [(match.src, match.dst, "dst")] + ([(match.dst, match.src, "src")] if match.answers else [])
    if isinstance(overlay.action, Divert):
        return tuple(_diverted(plan, overlay, overlay.action))
    matches = [_conversation(match, side) | _sent(plan, switch, src, dst) for src, dst, side in ways]
    passing = [
        (src if src != ANY else host, dst if dst != ANY else host, side)
        for host in match.exempt
        for src, dst, side in ways
    ]
    action = [blocked(_port_to(plan, switch, plan.host(match.src)))] if overlay.kind == "block" else []
    dropped = (_overlaid(switch, overlay, dropping, *action) for dropping in matches)
    return (*dropped, *(_passed(plan, switch, overlay, *way) for way in passing))


def _passed(plan: Plan, switch: Switch, overlay: Overlay, src: str, dst: str, side: str) -> Flow:
    bound: dict[str, MatchValue] = {"vlan_vid": UNTAGGED, "eth_src": plan.host(src).mac}
    match = _conversation(overlay.match, side) | _sent(plan, switch, src, dst) | bound
    return _flow(switch, BIND, overlay.priority + 1, OWN_COOKIES["bound"], match, Goto(TRACK))


def _diverted(plan: Plan, overlay: Overlay, action: Divert) -> Iterator[Flow]:
    """To the machine beside, under the address that it goes by, and back under those of the two hosts."""
    switch, match = plan.switch(overlay.match.switch), overlay.match
    src, dst, own = plan.host(match.src), plan.host(match.dst), plan.host(action.under)
    to_own = (SetField("eth_dst", own.mac), SetField("ipv4_dst", own.ip), Output(action.port))
    for one, other, side in ((src, dst, "dst"), (dst, src, "src")):
        said = _conversation(match, side)
        back: dict[str, MatchValue] = {"in_port": action.port, "ipv4_dst": other.ip}
        under = (SetField("eth_src", one.mac), SetField("ipv4_src", one.ip), Output(_port_to(plan, switch, other)))
        yield _overlaid(switch, overlay, said | _sent(plan, switch, one.name, other.name), *to_own)
        yield _overlaid(switch, overlay, said | back, *under)


def _overlaid(switch: Switch, overlay: Overlay, match: dict[str, MatchValue], *actions: Action) -> Flow:
    return _flow(switch, BIND, overlay.priority, OWN_COOKIES[overlay.kind], match, *actions)


def _sent(plan: Plan, switch: Switch, src: str, dst: str) -> dict[str, MatchValue]:
    """A match for packets of one host to another, or to or from any: the port they come in by, and addresses."""
    match: dict[str, MatchValue] = {}
    if src != ANY:
        match |= {"in_port": _port_to(plan, switch, plan.host(src)), "ipv4_src": plan.host(src).ip}
    return match if dst == ANY else match | {"ipv4_dst": plan.host(dst).ip}


def _conversation(match: Match, side: str) -> dict[str, MatchValue]:
    """A match for one direction of a conversation: to a port (``dst``), or in answer from there (``src``)."""
    fields: dict[str, MatchValue] = {"eth_type": IPV4}
    if match.proto != ANY:
        fields["ip_proto"] = PROTO_NUMBERS[match.proto]
    if match.port is not None:
        fields[f"{match.proto}_{side}"] = match.port
    return fields


def _port_to(plan: Plan, switch: Switch, host: Host) -> int:
    return next(end.port for end, _ in plan.links_of(switch.name) if host in plan.behind(end))


def cookie_name(cookie: int, rules: tuple[Rule, ...]) -> str:
    """The rule (or the part of the pipeline) that a counter on a switch belongs to."""
    for name, own in OWN_COOKIES.items():
        if own == cookie:
            return name
    number = cookie - OWN_ROOM if cookie >= FIRST_OWN_COOKIE + OWN_ROOM else cookie
    return rules[number - 1].name if 1 <= number <= len(rules) else f"unknown-{cookie:#x}"


def rule_number(rules: tuple[Rule, ...], name: str) -> int:
    """The cookie of a rule: its number, as long as there are fewer than a thousand."""
    return rule_cookie(next(number for number, rule in enumerate(rules, start=1) if rule.name == name))


def rule_cookie(number: int) -> int:
    """The cookie of the rule that stands at this place, counted from 1."""
    return number if number < FIRST_OWN_COOKIE else number + OWN_ROOM


def _switch_flows(plan: Plan, switch: Switch, rules: tuple[Rule, ...]) -> Iterator[Flow]:
    yield from _bind(plan, switch)
    yield from _track(plan, switch)
    yield from _policy(plan, switch, rules)
    yield from _forward(plan, switch)


def _flow(
    switch: Switch, table: int, priority: int, cookie: int, match: dict[str, MatchValue], *actions: Action
) -> Flow:
    return Flow(switch.name, table, priority, cookie, tuple(match.items()), actions)


def _bind(plan: Plan, switch: Switch) -> Iterator[Flow]:
    own = OWN_COOKIES
    for end, _ in plan.links_of(switch.name):
        for host in plan.behind(end):
            sent: dict[str, MatchValue] = {"in_port": end.port, "vlan_vid": UNTAGGED, "eth_src": host.mac}
            ip = sent | {"eth_type": IPV4, "ipv4_src": host.ip}
            arp = sent | {"eth_type": ARP_TYPE, "arp_spa": host.ip, "arp_sha": host.mac}
            yield _flow(switch, BIND, SPECIFIC, own["bound"], ip, Goto(TRACK))
            yield _flow(switch, BIND, SPECIFIC, own["bound"], arp, Goto(ARP))
    for piece in ("first", "later"):
        yield _flow(switch, BIND, PIECE, own["fragment"], {"eth_type": IPV4, "ip_frag": FRAGMENTS[piece]})
    yield _flow(switch, BIND, DEFAULT, own["spoofed"], {})


def _track(plan: Plan, switch: Switch) -> Iterator[Flow]:
    own = OWN_COOKIES
    if not switch.guards:
        guarded = [plan.host(firewall.guards) for firewall in plan.switches if firewall.guards]
        for host in guarded:
            for side in ("ipv4_src", "ipv4_dst"):
                match: dict[str, MatchValue] = {"eth_type": IPV4, side: host.ip}
                yield _flow(switch, TRACK, SPECIFIC, own["passed-on"], match, Goto(FORWARD))
    track = Conntrack(switch.number, table=POLICY)
    yield _flow(switch, TRACK, DEFAULT, own["tracked"], {"eth_type": IPV4}, track)


def _policy(plan: Plan, switch: Switch, rules: tuple[Rule, ...]) -> Iterator[Flow]:
    own = OWN_COOKIES
    ip: dict[str, MatchValue] = {"eth_type": IPV4}
    invalid = ip | {"ct_state": (CT_TRK | CT_INV, CT_TRK | CT_INV)}
    related = ip | {
        "ip_proto": PROTO_NUMBERS["icmp"],
        "ct_state": (CT_TRK | CT_REL, CT_TRK | CT_REL | CT_INV),
    }
    yield _flow(switch, POLICY, INVALID, own["invalid"], invalid)
    yield _flow(switch, POLICY, RELATED, own["related"], related, Goto(FORWARD))
    marks = set()
    decided = {
        pair: 0 for pair in permutations(plan.hosts, 2) if switch.name in plan.policed_by(pair[0].name, pair[1].name)
    }
    for number, rule in enumerate(rules[:-1], start=1):  # the last rule is the table's default
        ends = [pair for pair in policies.pairs(rule, plan) if pair in decided]
        if ends and rule.action == "allow" and rule.mark not in marks:
            marks.add(rule.mark)
            known = ip | {"ct_state": (CT_TRK | CT_EST, TRACKED), "ct_mark": rule.mark}
            for sender in _senders(rule, ends):
                yield _flow(switch, POLICY, ESTABLISHED, rule_cookie(number), known | sender, Goto(FORWARD))
        said = rule.conversations
        yield from _rule_flows(switch, number, rule, [pair for pair in ends if said & ~decided[pair]])
        decided |= {pair: decided[pair] | said for pair in ends}
    yield _flow(switch, POLICY, DEFAULT, rule_cookie(len(rules)), {})


def _senders(rule: Rule, ends: Iterable[tuple[Host, Host]]) -> list[dict[str, MatchValue]]:
    """Each host apart where no handshake tells a conversation from a flood: so it is counted who sends how much."""
    hosts = dict.fromkeys(host for pair in ends for host in pair)
    loose = rule.proto in ("icmp", "udp")
    return [{"ip_proto": PROTO_NUMBERS[rule.proto], "ipv4_src": host.ip} for host in hosts] if loose else [{}]


def _rule_flows(switch: Switch, number: int, rule: Rule, ends: Iterable[tuple[Host, Host]]) -> Iterator[Flow]:
    """A rule's flows between those hosts of which the rules above it have not decided everything already."""
    remember = Conntrack(switch.number, commit=True, mark=rule.mark)
    actions = (remember, Goto(FORWARD)) if rule.action == "allow" else ()
    ported = list(_ported(rule))
    for src, dst in ends:
        match: dict[str, MatchValue] = {
            "eth_type": IPV4,
            "ct_state": (CT_TRK | CT_NEW, TRACKED),
            "ipv4_src": src.ip,
            "ipv4_dst": dst.ip,
        }
        for field in ported:
            yield _flow(switch, POLICY, FIRST_RULE - number, rule_cookie(number), match | field, *actions)


def _ported(rule: Rule) -> Iterator[dict[str, MatchValue]]:
    """A rule's protocol and ports as matches: several where a range takes several masks."""
    if rule.proto == ANY:
        yield {}
        return
    proto: dict[str, MatchValue] = {"ip_proto": PROTO_NUMBERS[rule.proto]}
    if rule.ports is None:
        yield proto
        return
    field = PORT_FIELDS[rule.proto]
    for low, high in rule.ports:
        # a type of ICMP takes no mask
        values: Iterable[MatchValue] = range(low, high + 1) if rule.proto == "icmp" else masked(low, high)
        for value in values:
            yield proto | {field: value}


def masked(low: int, high: int) -> Iterator[int | tuple[int, int]]:
    """A range of ports as values and (value, mask): as few as there can be."""
    while low <= high:
        size = low & -low or 1 << 16
        while low + size - 1 > high:
            size >>= 1
        yield low if size == 1 else (low, 0xFFFF & ~(size - 1))
        low += size


def _forward(plan: Plan, switch: Switch) -> Iterator[Flow]:
    own = OWN_COOKIES
    for end, _ in plan.links_of(switch.name):
        for host in plan.behind(end):
            to_host: dict[str, MatchValue] = {"eth_dst": host.mac, "eth_type": IPV4, "ipv4_dst": host.ip}
            asked: dict[str, MatchValue] = {"eth_type": ARP_TYPE, "arp_tpa": host.ip}
            yield _flow(switch, FORWARD, SPECIFIC, own["forward"], to_host, Output(end.port))
            yield _flow(switch, ARP, SPECIFIC, own["arp"], asked, Output(end.port))
    yield _flow(switch, FORWARD, DEFAULT, own["no-route"], {})
    yield _flow(switch, ARP, DEFAULT, own["arp-unknown"], {})
