"""The compiled flows do what the policy says: proved packet by packet, with no switch running (flowtable.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import permutations, product

import pytest
from flowtable import (
    BROADCAST,
    ECHO_REPLY,
    ECHO_REQUEST,
    IPV6,
    TCP,
    VLAN_PRESENT,
    FlowError,
    Packet,
    SimulatedNetwork,
    answer,
    arp,
    error_about,
    first,
)
from hypothesis import given
from hypothesis import strategies as st

from controllers.compile import (
    ARP,
    BIND,
    ESTABLISHED,
    FORWARD,
    OWN_COOKIES,
    POLICY,
    TRACK,
    compile_flows,
    cookie_name,
    rule_number,
)
from controllers.flow import Conntrack, Flow, Goto, Output, Sample
from controllers.policy import DENY_REST, Rule, decide, policy
from topo.errors import PolicyError
from topo.plan import Host, Plan
from topo.plan import plan as plan_of
from topo.profile import Profile
from topo.wiring import End

RULES = policy(plan_of(Profile()))
# what any rule speaks of, and some that none does
SPOKEN = {(rule.proto, low) for rule in RULES for low, _ in rule.ports or ()}
CLOSED = next(port for port in range(22, 65536) if ("tcp", port) not in SPOKEN)
PORTS = sorted(SPOKEN | {("tcp", CLOSED), ("udp", 123), ("icmp", ECHO_REQUEST), ("icmp", 13)})
STRANGE_PORT = 99
Rules = tuple[Rule, ...]
Flows = tuple[Flow, ...]


def conversations(plan: Plan) -> list[tuple[Host, Host, str, int]]:
    return [(src, dst, proto, port) for src, dst in permutations(plan.hosts, 2) for proto, port in PORTS]


def differences(plan: Plan, rules: Rules, flows: Iterable[Flow]) -> Iterator[str]:
    """Everything the flows do otherwise than policy and plan say, one line each, as they are found."""
    network = SimulatedNetwork(plan, flows)
    for switch in plan.switches:
        for end, _ in plan.links_of(switch.name):
            yield from _forwarding(network, end)
            yield from _binding(network, end)
        yield from _sampling(network, switch.name, rules)
    network.tracker.zones.clear()
    for src, dst, proto, port in conversations(plan):
        yield from _conversation(network, rules, src, dst, proto, port)
    for src, dst in permutations(plan.hosts, 2):
        if network.send(src.name, arp(src, dst)).arrived != dst.name:
            yield f"ARP {src.name} -> {dst.name} does not arrive"
        yield from _forged(network, src, dst)


def _binding(network: SimulatedNetwork, end: End) -> Iterator[str]:
    """Each switch by itself, whatever the others let through: a port takes what its own hosts send, nothing else."""
    behind = network.plan.behind(end)
    for host, other in permutations(network.plan.hosts, 2):
        honest, wrong = _sent_by(host, other)
        for packet in (*honest, *wrong):
            takes = host in behind and packet in honest
            flow, _ = network.through(end, packet)
            spoofed = flow is not None and flow.cookie in (OWN_COOKIES["spoofed"], OWN_COOKIES["arp-unknown"])
            if flow is None or spoofed == takes:
                yield f"{end.interface} {'refuses' if takes else 'takes'} {packet}"
    for host, ip_frag in product(behind, (1, 3)):
        flow, _ = network.through(end, replace(first(host, network.plan.hosts[0], "tcp", 80), ip_frag=ip_frag))
        if flow is None or flow.cookie != OWN_COOKIES["fragment"]:
            yield f"{end.interface} takes a fragment of {host.name}'s"


@cache
def _sent_by(host: Host, other: Host) -> tuple[list[Packet], list[Packet]]:
    """What a host may send to another, and what it may not, whichever port it comes by."""
    plain, asked = first(host, other, "tcp", 80), arp(host, other)
    wrong = [replace(each, vlan_vid=VLAN_PRESENT | 1) for each in (plain, asked)]
    wrong += [replace(plain, ipv4_src=other.ip), replace(plain, eth_src=other.mac)]
    wrong += [replace(asked, **{name: other.mac}) for name in ("eth_src", "arp_sha")]  # type: ignore[arg-type]
    wrong += [replace(asked, arp_spa=other.ip), replace(asked, arp_tpa="10.0.9.9")]
    return [plain, asked], wrong


def _forwarding(network: SimulatedNetwork, end: End) -> Iterator[str]:
    """Each switch by itself: what was allowed leaves by the port its destination is behind."""
    for host in network.plan.behind(end):
        packet = first(network.plan.hosts[0], host, "tcp", 80)
        if network.through(end, packet, FORWARD)[1] != end.port:
            yield f"{end.node} does not send what is for {host.name} through port {end.port}"
        for stray in (replace(packet, eth_dst=BROADCAST), replace(packet, ipv4_dst="10.0.9.9")):
            flow, out = network.through(end, stray, FORWARD)
            if out is not None or flow is None or flow.cookie != OWN_COOKIES["no-route"]:
                yield f"{end.node} does not count {stray} as going nowhere"


def _sampling(network: SimulatedNetwork, switch: str, rules: Rules) -> Iterator[str]:
    """What a switch drops is counted whatever port it came by, and sampled from each that the plan knows: each cause by
    a meter of its own."""
    client, lb = _two(network.plan, "client", "lb")
    plain = first(client, lb, "tcp", 80)
    drops = (
        ("spoofed", BIND, replace(plain, eth_type=IPV6)),
        ("fragment", BIND, replace(plain, ip_frag=1)),
        ("fragment", BIND, replace(plain, ip_frag=3)),
        ("invalid", TRACK, replace(plain, ack=True)),
        ("deny-rest", POLICY, plain),
        ("no-route", FORWARD, replace(plain, eth_dst=BROADCAST)),
        ("arp-unknown", ARP, arp(client, lb, arp_tpa="10.0.9.9")),
    )
    network.tracker.zones.clear()
    meters: dict[int, set[tuple[str, int]]] = {}
    ports = [end.port for end, _ in network.plan.links_of(switch)]
    for (name, table, packet), port in product(drops, ports):
        for at in (port, STRANGE_PORT):
            flow, _ = network.through(End(switch, at), packet, table)
            if flow is None or not flow.drops or cookie_name(flow.cookie, rules) != name:
                yield f"{switch} port {at}: {name} is not counted as such"
            elif at == port:
                for action in flow.actions:
                    meters.setdefault(action.meter, set()).add((name, port))  # type: ignore[union-attr]
                if not flow.actions:
                    yield f"{switch} port {at}: {name} is not sampled"
    if sorted(len(each) for each in meters.values()) != [1] * (len({name for name, _, _ in drops}) * len(ports)):
        yield f"{switch}: not one meter for each cause and port: {meters}"


def _conversation(
    network: SimulatedNetwork, rules: Rules, src: Host, dst: Host, proto: str, port: int
) -> Iterator[str]:
    what = f"{src.name} -> {dst.name} {proto}/{port}"
    wanted = decide(rules, network.plan, src.name, dst.name, proto, port)
    packet = first(src, dst, proto, port)
    if proto != "udp" and network.send(dst.name, answer(packet)).arrived:
        yield f"{what}: an answer arrives before anything was asked"
    trip = network.send(src.name, packet)
    if wanted.action == "deny":
        number = rule_number(rules, wanted.name)
        if trip.arrived:
            yield f"{what}: arrives, though {wanted.name} denies it"
        elif trip.dropped_by is None or trip.dropped_by.cookie != number:
            yield f"{what}: dropped, but not counted by {wanted.name}"
        return
    if trip.arrived != dst.name:
        yield f"{what}: does not arrive, though {wanted.name} allows it"
    for back in (answer(packet), error_about(packet)):
        if network.send(dst.name, back).arrived != src.name:
            yield f"{what}: {'an ICMP error' if back.about else 'the answer'} does not come back"
    onward = replace(packet, syn=False, ack=True)
    if network.send(src.name, onward).arrived != dst.name:
        yield f"{what}: does not go on after the answer"


def _forged(network: SimulatedNetwork, src: Host, dst: Host) -> Iterator[str]:
    """What ``src`` must not be able to send, in the shape of the most allowed packet there is."""
    if network.send(src.name, replace(first(src, dst, "tcp", 80), eth_dst=BROADCAST)).arrived:
        yield f"{src.name}: a packet to everybody arrives"
    forged = {OWN_COOKIES[name] for name in ("spoofed", "invalid")}
    for what, packet in _forgeries(src, dst, network.plan.hosts):
        trip = network.send(src.name, packet)
        if trip.arrived:
            yield f"{src.name} -> {dst.name}: {what} arrives"
        elif trip.dropped_by is None or trip.dropped_by.cookie not in forged:
            yield f"{src.name} -> {dst.name}: {what} is dropped, but not counted as such"


@cache
def _forgeries(src: Host, dst: Host, hosts: tuple[Host, ...]) -> list[tuple[str, Packet]]:
    plain, asked = first(src, dst, "tcp", 80), arp(src, dst)
    forgeries = {
        "a tagged packet": replace(plain, vlan_vid=VLAN_PRESENT | 1),
        "a priority-tagged packet": replace(plain, vlan_vid=VLAN_PRESENT),
        "an IPv6 packet": Packet(src.mac, dst.mac, IPV6),
        "an ICMP error about nothing": error_about(answer(first(src, dst, "udp", 999, src_port=9))),
    }
    for other in hosts:
        if other == src:
            continue
        forgeries |= {
            f"{other.name}'s address": replace(plain, ipv4_src=other.ip),
            f"{other.name}'s MAC": replace(plain, eth_src=other.mac),
            f"{other.name}'s address and MAC": replace(plain, ipv4_src=other.ip, eth_src=other.mac),
            f"ARP as {other.name}": replace(asked, arp_spa=other.ip),
            f"ARP with {other.name}'s MAC": replace(asked, arp_sha=other.mac),
            f"ARP from {other.name}'s MAC": replace(asked, eth_src=other.mac),
        }
    return list(forgeries.items())


# --- the proof ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [Profile(), Profile(servers=1), Profile(servers=5)], ids=str)
def test_the_flows_do_what_the_policy_says(profile: Profile) -> None:
    plan = plan_of(profile)
    rules = policy(plan)
    assert list(differences(plan, rules, compile_flows(plan, rules))) == []


def test_without_firewalls_everything_but_forgeries_passes() -> None:
    profile = Profile(firewall="off")
    plan = plan_of(profile)
    rules = policy(plan)
    network = SimulatedNetwork(plan, compile_flows(plan, rules))
    for src, dst, proto, port in conversations(plan):
        assert network.send(src.name, first(src, dst, proto, port)).arrived == dst.name
    assert network.send(
        "attacker", replace(first(*_two(plan, "attacker", "lb"), "tcp", 80), ipv4_src="10.0.1.10")
    ).dropped_by


def _two(plan: Plan, src: str, dst: str) -> tuple[Host, Host]:
    return plan.host(src), plan.host(dst)


@pytest.mark.parametrize("eager", [False, True], ids=["as the kernel tracks", "as Open vSwitch tracks"])
def test_an_allowed_connection_is_no_way_back(plan: Plan, rules: Rules, flows: Flows, eager: bool) -> None:
    """Who was asked may answer, and not begin: not to the asking port's neighbour, nor from another port of its own."""
    for src, dst, proto, port in conversations(plan):
        if proto == "icmp" or decide(rules, plan, src.name, dst.name, proto, port).action == "deny":
            continue
        network = SimulatedNetwork(plan, flows, eager=eager)
        packet = first(src, dst, proto, port)
        assert network.send(src.name, packet).arrived == dst.name
        assert network.send(dst.name, answer(packet)).arrived == src.name
        for forged in (
            first(dst, src, proto, packet.src_port + 1, src_port=port),
            first(dst, src, proto, packet.src_port, src_port=port + 1),
        ):
            assert network.send(dst.name, forged).arrived is None, f"{dst.name} -> {src.name}: {forged}"


def test_each_firewall_denies_by_itself(plan: Plan, rules: Rules, flows: Flows) -> None:
    """With every other switch waving everything through, each one that polices still refuses what is denied."""
    open_flows = compile_flows(plan, policy(plan_of(Profile(firewall="off"))))
    networks: dict[str, SimulatedNetwork] = {}
    for src, dst, proto, port in conversations(plan):
        wanted = decide(rules, plan, src.name, dst.name, proto, port)
        for guard in plan.policed_by(src.name, dst.name):
            if guard not in networks:
                mixed = [f for f in flows if f.switch == guard] + [f for f in open_flows if f.switch != guard]
                networks[guard] = SimulatedNetwork(plan, mixed)
            network = networks[guard]
            network.tracker.zones.clear()
            trip = network.send(src.name, first(src, dst, proto, port))
            assert (trip.arrived is not None) == (wanted.action == "allow")
            if trip.dropped_by:
                assert (trip.dropped_by.switch, cookie_name(trip.dropped_by.cookie, rules)) == (guard, wanted.name)


def test_between_two_servers_both_firewalls_decide(plan: Plan, flows: Flows) -> None:
    network = SimulatedNetwork(plan, flows)
    srv1, srv2 = _two(plan, "srv1", "srv2")
    network.send("srv2", first(srv2, srv1, "tcp", 3306))
    assert set(network.tracker.zones) == {plan.switch("fw1").number, plan.switch("fw2").number}


def test_spoofing_is_counted_where_it_enters(plan: Plan, flows: Flows) -> None:
    attacker, lb = _two(plan, "attacker", "lb")
    trip = SimulatedNetwork(plan, flows).send(
        "attacker", replace(first(attacker, lb, "tcp", 443), ipv4_src="10.0.1.10")
    )
    assert trip.dropped_by is not None
    assert (trip.dropped_by.switch, trip.dropped_by.cookie) == ("core", OWN_COOKIES["spoofed"])
    srv1, srv2 = _two(plan, "srv1", "srv2")
    trip = SimulatedNetwork(plan, flows).send("srv1", arp(srv1, srv2, arp_spa=lb.ip))
    assert trip.dropped_by is not None
    assert (trip.dropped_by.switch, trip.dropped_by.cookie) == ("fw1", OWN_COOKIES["spoofed"])


def test_echo_replies_and_syn_acks_begin_nothing(plan: Plan, flows: Flows) -> None:
    mon, srv1 = _two(plan, "mon", "srv1")
    for packet in (first(mon, srv1, "icmp", ECHO_REPLY), replace(first(mon, srv1, "tcp", 80), ack=True)):
        trip = SimulatedNetwork(plan, flows).send("mon", packet)
        assert trip.dropped_by is not None
        assert trip.dropped_by.cookie == OWN_COOKIES["invalid"]


def test_connections_are_marked_with_the_rule_that_allowed_them(plan: Plan, rules: Rules, flows: Flows) -> None:
    network = SimulatedNetwork(plan, flows)
    network.send("lb", first(*_two(plan, "lb", "srv2"), "tcp", 80))
    ((connection,),) = network.tracker.zones.values()
    assert [rule.name for rule in rules if rule.mark == connection.mark] == ["web"]


# --- negative controls: what differs from the compiled flows is seen ----------------------------------------------


@pytest.fixture(scope="module")
def small() -> tuple[Plan, Rules, Flows]:
    """The smallest network that has everything: one server, one firewall."""
    profile = Profile(servers=1)
    plan = plan_of(profile)
    rules = policy(plan)
    return plan, rules, compile_flows(plan, rules)


def test_every_flow_matters(small: tuple[Plan, Rules, Flows]) -> None:
    """Take one flow away, and something is no longer as the policy says."""
    plan, rules, flows = small
    committed = {
        (flow.switch, action.mark) for flow in flows for action in flow.actions if isinstance(action, Conntrack)
    }
    for flow in flows:
        if flow.priority == ESTABLISHED and (flow.switch, flow.cookie) not in committed:
            continue  # goes on with connections of a rule that this switch never decides about: there are none
        without = [each for each in flows if each is not flow]
        assert next(differences(plan, rules, without), None), f"nobody misses {flow.text()} on {flow.switch}"


@pytest.mark.parametrize("switch", ["core", "fw2"])
def test_a_denied_port_that_was_opened_is_seen(plan: Plan, rules: Rules, flows: Flows, switch: str) -> None:
    match = (("eth_type", 0x0800), ("ip_proto", TCP), ("tcp_dst", CLOSED))
    hole = Flow(switch, POLICY, 35000, 0, match, (Goto(FORWARD),))
    found = list(differences(plan, rules, [*flows, hole]))
    assert found
    assert all(f"tcp/{CLOSED}: arrives, though deny-rest denies it" in each for each in found)


ALTERATIONS: dict[str, Callable[[Flow], Flow | None]] = {
    "the wrong port": lambda flow: (
        replace(flow, actions=(Output(9),)) if flow.table == FORWARD and flow.actions else None
    ),
    "no address binding": lambda flow: (
        replace(flow, match=tuple(m for m in flow.match if m[0] != "ipv4_src")) if flow.table == BIND else None
    ),
    "untagged or not": lambda flow: (
        replace(flow, match=tuple(m for m in flow.match if m[0] != "vlan_vid")) if flow.table == BIND else None
    ),
    "a connection not remembered": lambda flow: (
        replace(flow, actions=flow.actions[1:]) if flow.table == POLICY and len(flow.actions) == 2 else None
    ),
    "allowed without a look": lambda flow: (
        replace(flow, actions=(Goto(FORWARD),)) if flow.table == TRACK and flow.actions else None
    ),
    "not counted for its rule": lambda flow: (
        replace(flow, cookie=1) if flow.table == POLICY and flow.priority == 0 else None
    ),
    "not sampled": lambda flow: replace(flow, actions=()) if flow.drops else None,
    "sampled by another's meter": lambda flow: (
        replace(flow, actions=(Sample(flow.actions[0].meter % 5 + 1),)) if flow.drops and flow.actions else None  # type: ignore[union-attr]
    ),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_flow_is_seen(small: tuple[Plan, Rules, Flows], alteration: str) -> None:
    plan, rules, flows = small
    alter = ALTERATIONS[alteration]
    able = [flow for flow in flows if (altered := alter(flow)) and altered != flow]
    assert able
    for flow in able:
        altered = [alter(each) if each is flow else each for each in flows]
        assert next(differences(plan, rules, altered), None), f"{alteration}: not seen in {flow.text()}"


def test_flows_that_contradict_each_other_are_refused(plan: Plan, flows: Flows) -> None:
    known = next(flow for flow in flows if flow.table == POLICY and flow.priority == 1 and ("in_port", 1) in flow.match)
    with pytest.raises(FlowError, match="both match, at one priority"):
        SimulatedNetwork(plan, [*flows, replace(known, cookie=5)]).send(
            "client", first(*_two(plan, "client", "lb"), "tcp", 22)
        )


def test_a_match_without_its_prerequisite_is_refused(plan: Plan) -> None:
    with pytest.raises(FlowError, match="tcp_dst needs eth_type=2048"):
        SimulatedNetwork(plan, [Flow("core", 0, 1, 1, (("tcp_dst", 80),))])


# --- any policy ---------------------------------------------------------------------------------------------------

PLAN = plan_of(Profile(servers=2))
NAMES = sorted(PLAN.names)
HOSTS = [host.name for host in PLAN.hosts]


@st.composite
def some_rules(draw: st.DrawFn) -> Rules:
    made = []
    for number in range(draw(st.integers(0, 5))):
        proto = draw(st.sampled_from(["tcp", "udp", "icmp", "any"]))
        ports = {
            "tcp": st.sampled_from([22, 80, 443]),
            "udp": st.sampled_from([53, 123]),
            "icmp": st.sampled_from([8, 13]),
        }
        port = draw(st.none() | ports[proto]) if proto in ports else None
        src, dst, action = draw(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(["allow", "deny"]))
        )
        made.append(Rule(f"rule-{number}", src, dst, proto, port, action, "drawn"))
    return (*made, DENY_REST)


packets = st.tuples(
    st.permutations(HOSTS).map(lambda hosts: (hosts[0], hosts[1])),
    st.sampled_from([("tcp", 22), ("tcp", 80), ("tcp", 443), ("udp", 53), ("udp", 123), ("icmp", 8), ("icmp", 13)]),
)


@given(rules=some_rules(), sent=st.lists(packets, min_size=1, max_size=25), eager=st.booleans())
def test_any_policy_is_kept_by_its_flows(
    rules: Rules, sent: list[tuple[tuple[str, str], tuple[str, int]]], eager: bool
) -> None:
    network = SimulatedNetwork(PLAN, compile_flows(PLAN, rules), eager=eager)
    for number, ((src, dst), (proto, port)) in enumerate(sent):
        wanted = decide(rules, PLAN, src, dst, proto, port)
        packet = first(*_two(PLAN, src, dst), proto, port, src_port=40000 + number)
        trip = network.send(src, packet)
        assert trip.arrived == (dst if wanted.action == "allow" else None), f"{src} -> {dst} {proto}/{port}: {wanted}"
        if trip.arrived:
            assert network.send(dst, answer(packet)).arrived == src
        else:
            assert trip.dropped_by is not None
            assert cookie_name(trip.dropped_by.cookie, rules) == wanted.name


def test_a_wrong_policy_is_refused_before_anything_is_compiled(plan: Plan) -> None:
    with pytest.raises(PolicyError, match="srv9 is no host"):
        compile_flows(plan, (Rule("x", "srv9", "lb", "tcp", 80, "allow", ""), DENY_REST))


def test_every_counter_has_a_name(rules: Rules, flows: Flows) -> None:
    names = {cookie_name(flow.cookie, rules) for flow in flows}
    assert not [name for name in names if name.startswith("unknown")]
    assert {rule.name for rule in rules} | {"spoofed", "invalid", "bound"} <= names
    assert cookie_name(77, rules) == "unknown-0x4d"
