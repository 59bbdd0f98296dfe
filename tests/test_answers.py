"""Answers as intervals; oracles 1 and 2 of every pair, without a switch; what switches' counters say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from flowtable import Packet, SimulatedNetwork
from hypothesis import given
from hypothesis import strategies as st
from test_proof import PLAN, SHARED_PROOF, some_rules

from controllers.compile import compile_flows, rule_number
from controllers.policy import DENY_REST, Rule, policy
from controllers.verify.proof import Proof
from experiments.firewall_matrix import answers
from experiments.firewall_matrix.answers import BEGINS, COUNTS, EVERYTHING, KINDS, segments, size, within, without
from experiments.firewall_matrix.evidence import Intervals
from experiments.firewall_matrix.oracles import decided, proved, rulings, stops
from experiments.firewall_matrix.sweep import Swept, counted, drops
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import HARDENED, Profile

Rules = tuple[Rule, ...]
spans = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=8).map(
    lambda pairs: answers.union((low, low + length) for low, length in pairs)
)


def numbers(intervals: Intervals) -> set[int]:
    return {value for low, high in intervals for value in range(low, high + 1)}


@given(one=spans, other=spans)
def test_intervals_are_sets(one: Intervals, other: Intervals) -> None:
    assert numbers(within(one, other)) == numbers(one) & numbers(other)
    assert numbers(without(one, other)) == numbers(one) - numbers(other)
    assert size(one) == len(numbers(one))
    for made in (within(one, other), without(one, other)):
        assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(made))


@given(one=spans, other=spans)
def test_no_set_tells_the_values_of_a_segment_apart(one: Intervals, other: Intervals) -> None:
    cut = segments("tcp", one, other)
    assert answers.union(cut) == EVERYTHING["tcp"]
    for told in (one, other):
        for span in cut:
            assert len({answers.covered(told, value) for value in (span[0], span[1], sum(span) // 2)}) == 1


def test_an_answer_in_words() -> None:
    assert answers.shown({"tcp": ((80, 80), (8000, 8080)), "icmp": ((8, 8),)}) == "tcp/80,8000-8080 icmp/8"
    assert answers.shown({"tcp": tuple((n, n) for n in range(1, 20, 2))}, most=2) == "tcp/1,3,+8"
    assert answers.shown({}) == "-"


def test_the_policy_in_words(plan: Plan, rules: Rules) -> None:
    def told(src: str, dst: str) -> str:
        return answers.shown(decided(rules, plan, plan.host(src), plan.host(dst)))

    assert told("attacker", "lb") == "tcp/80,443 icmp/8"
    assert told("client", "dns") == "tcp/53 udp/53"
    assert told("srv2", "srv1") == "tcp/3306"
    assert told("srv1", "attacker") == "-"
    assert told("mon", "client") == "icmp/8"


def test_who_stops_what(plan: Plan, rules: Rules) -> None:
    src, dst = plan.host("srv2"), plan.host("srv1")
    invalid = sum(COUNTS[kind] - size(BEGINS[kind]) for kind in KINDS)
    assert stops(rules, plan, src, dst, EVERYTHING) == {
        "fw2": {"deny-rest": sum(COUNTS.values()) - invalid - 1, "invalid": invalid}
    }
    assert stops(rules, plan, src, dst, {"tcp": ((3306, 3306),)}) == {}
    assert stops(rules, plan, plan.host("attacker"), plan.host("lb"), {"tcp": ((0, 1),)}) == {
        "core": {"deny-rest": 1, "invalid": 1}
    }


@pytest.mark.parametrize(
    "profile",
    [Profile(), HARDENED, Profile(firewall="off"), Profile(servers=1)],
    ids=["seed", "hardened", "off", "one"],
)
def test_policy_and_proof_agree_about_every_pair(profile: Profile) -> None:
    plan = plan_of(profile)
    rules = policy(plan)
    proof = Proof(plan)
    reach = proof.reach(compile_flows(plan, rules))
    for src in plan.hosts:
        for dst in plan.hosts:
            if src != dst:
                assert proved(proof, reach, src, dst) == decided(rules, plan, src, dst), (src.name, dst.name)


def test_a_flow_too_much_or_too_little_is_seen_in_the_answer(plan: Plan, rules: Rules) -> None:
    flows = compile_flows(plan, (Rule("hole", "attacker", "srv1", "tcp", ((20, 22),), "allow", "x"), *rules))
    proof = Proof(plan)
    src, dst = plan.host("attacker"), plan.host("srv1")
    assert proved(proof, proof.reach(flows), src, dst) == {"tcp": ((20, 22),), "udp": (), "icmp": (), "ip": ()}
    assert decided(rules, plan, src, dst) == {"tcp": (), "udp": (), "icmp": (), "ip": ()}
    fewer = tuple(flow for flow in compile_flows(plan, rules) if ("tcp_dst", 53) not in flow.match)
    client, dns = plan.host("client"), plan.host("dns")
    assert proved(proof, proof.reach(fewer), client, dns)["tcp"] == ()
    assert decided(rules, plan, client, dns)["tcp"] == ((53, 53),)


@given(rules=some_rules(), data=st.data())
def test_random_policies_and_packets_on_three_oracles(rules: Rules, data: st.DataObject) -> None:
    """Policy, proof and the switches in Python agree about every value, the interesting ones and random ones."""
    flows = compile_flows(PLAN, rules)
    src, dst = data.draw(st.permutations(PLAN.hosts).map(lambda hosts: hosts[:2]))
    told = rulings(rules, PLAN, src, dst)
    answer = decided(rules, PLAN, src, dst)
    assert proved(SHARED_PROOF, SHARED_PROOF.reach(flows), src, dst) == answer
    assert {
        kind: answers.union(s for each in told if each.kind == kind for s in each.values) for kind in KINDS
    } == dict(EVERYTHING)
    edges = [edge for span in segments("tcp", answer["tcp"]) for edge in span]
    for port in {*edges, data.draw(st.integers(0, 65535))} & numbers(BEGINS["tcp"]):
        sent = Packet(src.mac, dst.mac, 0x0800, 0, src.ip, dst.ip, 6, 20000, port, syn=True)
        assert (SimulatedNetwork(PLAN, flows).send(src.name, sent).arrived == dst.name) == answers.covered(
            answer["tcp"], port
        )


DUMP = """
cookie=0x3e8, duration=9.1s, table=0, n_packets=90, n_bytes=9, priority=100,ip,in_port=2 actions=goto_table:1
cookie=0x3ec, duration=9.1s, table=2, n_packets=3, n_bytes=9, priority=40002,ct_state=+inv+trk,ip actions=drop
cookie=0x6, duration=9.1s, table=2, n_packets=7, n_bytes=9, priority=29994,ct_state=+new+trk,tcp,tp_dst=80 \
actions=ct(commit,zone=2,exec(set_field:0xaf17eb92->ct_mark)),goto_table:3
cookie=0xc, duration=9.1s, table=2, n_packets=5, n_bytes=9, priority=0 actions=meter:1,CONTROLLER:128
cookie=0x0, duration=9.1s, table=3, n_packets=2, n_bytes=9, priority=7 actions=drop
cookie=0x3ee, duration=9.1s, table=3, n_packets=80, n_bytes=9, priority=100,ip actions=output:2
"""


def test_what_flows_drop_is_counted_by_name(rules: Rules) -> None:
    dump = DUMP.replace("cookie=0xc,", f"cookie={rule_number(rules, 'deny-rest'):#x},")
    found = counted(dump, rules)
    assert found.dropped == {"invalid": 3, "deny-rest": 5, "unknown-0x0": 2}
    assert found.begun == {"tcp": 7}
    assert counted(dump.replace("+trk,tcp,tp_dst=80", "+trk,ip"), rules).begun == {"ip": 7}
    later = counted(dump.replace("n_packets=5", "n_packets=9"), rules).since(found)
    assert drops({"fw1": later, "core": found.since(found)}) == {"fw1": {"deny-rest": 4}}


def test_every_probe_is_accounted_for_or_the_sweep_is_not_exact() -> None:
    def swept(probes: int, inconclusive: tuple[str, ...] = ()) -> Swept:
        stopped = {"fw1": {"deny-rest": 7}, "core": {"invalid": 1}}
        return Swept("attacker", "srv1", {}, probes, {}, 2, {}, stopped, inconclusive, 1, 0.1)

    assert swept(10).exact
    assert (swept(11).lost, swept(11).exact) == (1, False)
    assert (swept(9).lost, swept(9).exact) == (-1, False)
    assert not swept(10, inconclusive=("srv1",)).exact


def test_the_last_rule_denies_what_no_rule_speaks_of(plan: Plan) -> None:
    assert decided((DENY_REST,), plan, plan.host("client"), plan.host("lb")) == answers.NOTHING
