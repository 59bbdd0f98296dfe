"""Oracle 2 by itself, and beside oracle 1 (decide) and the switches in Python (flowtable.py)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

import pytest
from flowtable import SimulatedNetwork, answer, first
from hypothesis import given
from hypothesis import strategies as st

from controllers.compile import FORWARD, POLICY, compile_flows
from controllers.flow import Flow, Goto, Output, of_switch
from controllers.ovs.dump import mac_number, parse
from controllers.policy import DENY_REST, Ports, Rule, decide, policy
from controllers.verify import explain
from controllers.verify.packetset import LEAF, NAMES
from controllers.verify.proof import Proof, Reach
from topo.errors import RefusedError
from topo.plan import Host, Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

Rules = tuple[Rule, ...]
Flows = tuple[Flow, ...]
HOLE = Flow("fw1", POLICY, 35000, 0, (("eth_type", 0x0800), ("ip_proto", 6), ("tcp_dst", 22)), (Goto(FORWARD),))


def wrong(plan: Plan, rules: Rules, flows: Flows) -> list[str]:
    return explain.differences(plan, flows, rules, Proof(plan).check(flows, rules))


@pytest.mark.parametrize(
    "profile",
    [Profile(), Profile(servers=1), Profile(servers=5), Profile(firewall="off"), Profile(db="galera")],
    ids=str,
)
def test_the_flows_do_what_the_policy_says(profile: Profile) -> None:
    plan = plan_of(profile)
    rules = policy(plan)
    flows = compile_flows(plan, rules)
    assert wrong(plan, rules, flows) == []
    dumped = tuple(
        flow
        for switch in plan.switches
        for flow in parse(switch.name, "\n".join(flow.text() for flow in of_switch(flows, switch.name)))
    )
    assert Proof(plan).check(dumped, rules).holds


def test_cookies_are_not_trusted(plan: Plan, rules: Rules, flows: Flows) -> None:
    assert Proof(plan).check([replace(flow, cookie=7) for flow in flows], rules).holds


def test_an_error_passes_only_who_knows_the_conversation_that_it_quotes(plan: Plan, rules: Rules, flows: Flows) -> None:
    fw3, fw2 = (_to_srv2(flows, switch) for switch in ("fw3", "fw2"))
    assert wrong(plan, rules, (*flows, fw3)) == []  # fw2 refuses it, and knows no conversation of srv3's with srv2
    both = Proof(plan).check((*flows, fw3, fw2), rules).differences
    assert ("srv3", "srv2") in {(each.src, each.dst) for each in both if each.state == "related" and each.excess}


# --- negative controls ---------------------------------------------------------------------------------------------


def test_a_hole_is_named(plan: Plan, rules: Rules, flows: Flows) -> None:
    found = wrong(plan, rules, (*flows, HOLE))
    assert [
        line for line in found if line.startswith("attacker -> srv1 tcp/22: arrives, though deny-rest denies it; by ")
    ]
    assert all("fw1 table 2: priority=35000" in line for line in found if "arrives, though" in line)


def test_a_wall_is_named(plan: Plan, rules: Rules, flows: Flows) -> None:
    found = wrong(plan, rules, tuple(flow for flow in flows if flow.match != _beginning(plan, rules, flows).match))
    rest = "stopped by fw1 table 2: priority=1,in_port=1,actions=meter:7,CONTROLLER:128"
    assert found == [f"lb -> srv1 tcp/3306: does not arrive, though db-primary allows it; {rest}"]


def _to_srv2(flows: Flows, switch: str) -> Flow:
    """The flow with which a firewall begins its server's replication, for srv3's connections to srv2's database."""
    flow = next(each for each in of_switch(flows, switch) if ("tcp_dst", 3306) in each.match and each.table == POLICY)
    sides = {"ipv4_src": "10.0.3.13", "ipv4_dst": "10.0.3.12"}
    return replace(flow, match=tuple((name, sides.get(name, value)) for name, value in flow.match))


def _beginning(plan: Plan, rules: Rules, flows: Flows) -> Flow:
    return next(flow for flow in flows if ("tcp_dst", 3306) in flow.match and ("ipv4_src", "10.0.2.10") in flow.match)


def test_spoofing_and_tagging_is_named(plan: Plan, rules: Rules, flows: Flows) -> None:
    loose = tuple(
        replace(flow, match=tuple(each for each in flow.match if each[0] not in ("ipv4_src", "vlan_vid")))
        if flow.table == 0 and flow.switch == "core"
        else flow
        for flow in flows
    )
    found = wrong(plan, rules, loose)
    said = "attacker -> lb .*as if from client.*: arrives, though a host sends under its own name only"
    assert any(re.match(said, line) for line in found), found


def test_a_leak_to_somebody_else_is_named(plan: Plan, rules: Rules, flows: Flows) -> None:
    leak = tuple(
        replace(flow, actions=(*flow.actions, Output(2))) if flow.actions == (Output(4),) else flow for flow in flows
    )
    found = wrong(plan, rules, leak)
    assert any(line.startswith("client -> attacker tcp/") and "addressed to lb" in line for line in found), found


def test_two_flows_that_contradict_each_other_are_named(plan: Plan, rules: Rules, flows: Flows) -> None:
    rule = next(flow for flow in flows if flow.table == POLICY and flow.priority == 29997)
    contradiction = replace(rule, match=tuple(each for each in rule.match if each[0] != "tcp_dst"), actions=())
    found = wrong(plan, rules, (*flows, contradiction))
    assert any("two flows of one priority match and differ: tcp/443" in line for line in found), found


def test_a_field_that_cannot_be_proved_is_refused(plan: Plan, rules: Rules, flows: Flows) -> None:
    with pytest.raises(RefusedError, match="field ip_dscp cannot be proved"):
        Proof(plan).check((*flows, replace(HOLE, match=(("ip_dscp", 1),))), rules)


# --- three oracles -------------------------------------------------------------------------------------------------

PLAN = plan_of(Profile(servers=2))
SHARED_PROOF = Proof(PLAN)
SOME_PORTS: list[Ports | int] = [22, 80, ((80, 81), (8000, 8100)), ((0, 1023),), ((1024, 65535),)]


@st.composite
def some_rules(draw: st.DrawFn) -> Rules:
    made = []
    names = st.sampled_from(sorted(PLAN.names))
    for number in range(draw(st.integers(0, 6))):
        proto = draw(st.sampled_from(["tcp", "udp", "icmp", "any"]))
        port: Ports | int | None = None
        if proto == "icmp":
            port = draw(st.sampled_from([None, 8, 13, ((3, 8), (13, 13))]))
        elif proto != "any":
            port = draw(st.none() | st.sampled_from(SOME_PORTS))
        action = draw(st.sampled_from(["allow", "deny"]))
        made.append(Rule(f"rule-{number}", draw(names), draw(names), proto, port, action, "drawn"))
    return (*made, DENY_REST)


packets = st.tuples(
    st.permutations(PLAN.hosts).map(lambda hosts: (hosts[0], hosts[1])),
    st.sampled_from(["tcp", "udp"]).flatmap(
        lambda proto: st.tuples(st.just(proto), st.sampled_from([0, 22, 80, 81, 1023, 1024, 8050, 65535]))
    )
    | st.tuples(st.just("icmp"), st.sampled_from([8, 13])),
)


def arrives(reach: Reach, state: str, src: Host, dst: Host, proto: str, port: int, *, back: bool = False) -> bool:
    """Whether one packet is in the set that oracle 2 has found."""
    number = {"icmp": 1, "tcp": 6, "udp": 17}[proto]
    ports = (port, 0) if proto == "icmp" else (port, 40000) if back else (40000, port)
    point = {
        "eth_type": 0x0800,
        "eth_src": mac_number(src.mac),
        "eth_dst": mac_number(dst.mac),
        "nw_src": int(ipaddress.ip_address(src.ip)),
        "nw_dst": int(ipaddress.ip_address(dst.ip)),
        "nw_proto": number,
        "tp_src": ports[0],
        "tp_dst": ports[1],
    }
    node = reach.arrived[state].get((src.name, dst.name), SHARED_PROOF.space.nothing)
    while node.level != LEAF:
        node = node.at(point.get(NAMES[node.level], 0))
    return node.value is True


@given(rules=some_rules(), sent=st.lists(packets, min_size=1, max_size=20))
def test_three_oracles_agree(rules: Rules, sent: list[tuple[tuple[Host, Host], tuple[str, int]]]) -> None:
    flows = compile_flows(PLAN, rules)
    checked = SHARED_PROOF.check(flows, rules)
    assert checked.holds, explain.differences(PLAN, flows, rules, checked)
    for (src, dst), (proto, port) in sent:
        wanted = decide(rules, PLAN, src.name, dst.name, proto, port).action == "allow"
        assert arrives(checked.reach, "first", src, dst, proto, port) == wanted
        packet = first(src, dst, proto, port)
        network = SimulatedNetwork(PLAN, flows)
        assert (network.send(src.name, packet).arrived == dst.name) == wanted
        back = {8: 0, 13: 14}.get(port, -1) if proto == "icmp" else port
        assert arrives(checked.reach, "answer", dst, src, proto, back, back=True) == wanted
        if wanted:
            assert network.send(dst.name, answer(packet)).arrived == src.name


@given(rules=some_rules(), number=st.integers(0), data=st.data())
def test_what_a_proof_remembers_changes_nothing(rules: Rules, number: int, data: st.DataObject) -> None:
    """A flow less: the proof that has seen much before says what a fresh one says."""
    flows = list(compile_flows(PLAN, rules))
    del flows[number % len(flows)]
    again, fresh = SHARED_PROOF.check(flows, rules), Proof(PLAN).check(flows, rules)
    assert explain.differences(PLAN, flows, rules, again) == explain.differences(PLAN, flows, rules, fresh)
