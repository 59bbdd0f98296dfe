"""Oracle 3 reads what ofproto/trace prints: recorded answers, and everything that must not be taken for a no."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from controllers.ovs import vswitchd
from controllers.policy import DENY_REST, Rule
from experiments.firewall_matrix import ofproto
from experiments.firewall_matrix.answers import COUNTS, KINDS
from experiments.firewall_matrix.evidence import INVALID
from experiments.firewall_matrix.ofproto import Question, Trace, Traced
from topo.errors import RefusedError
from topo.plan import Plan

DATA = Path(__file__).parent / "data" / "traces"
ZONES = {1: "core", 2: "fw1", 3: "fw2", 4: "fw3"}
PORTS = {"core-eth1": 5, "core-eth2": 6, "core-eth4": 8, "fw1-eth2": 10}


def recorded(name: str) -> str:
    return (DATA / f"{name}.txt").read_text()


def parsed(name: str) -> Trace:
    return ofproto.parse(recorded(name), ZONES)


def test_the_datapath_numbers_its_ports_as_it_likes() -> None:
    assert PORTS.items() <= ofproto.datapath_ports(recorded("ports")).items()
    with pytest.raises(RefusedError, match="no port of the datapath"):
        ofproto.datapath_ports("netdev@ovs-netdev:\n  flows: 0\n")


def test_what_arrives_is_put_out_of_its_port_and_a_rule_let_it(rules: tuple[Rule, ...]) -> None:
    found = parsed("web")
    assert found.outputs == {PORTS["fw1-eth2"]}
    expected = "ct_state=+new-est-rel-inv+trk,tcp,nw_src=10.0.2.10,nw_dst=10.0.3.11,tp_dst=80, priority 29994"
    assert found.deciding(arrives=True).text(rules) == f"fw1: web: {expected}"


def test_two_firewalls_are_told_apart_by_their_zones() -> None:
    found = parsed("replication")
    assert found.outputs == {PORTS["fw1-eth2"]}
    assert [each.switch for each in found.met if each.tracked] == ["fw2", "fw1"]
    assert [each.switch for each in found.met].count("core") == 3


def test_what_does_not_arrive_ended_at_a_flow(rules: tuple[Rule, ...]) -> None:
    found = parsed("denied")
    assert found.outputs == frozenset()
    recorded_with = (*rules[:11], DENY_REST)
    assert found.deciding(arrives=False).text(recorded_with) == "fw1: deny-rest: any, priority 0"
    assert parsed("unbound").deciding(arrives=False).text(rules) == "core: spoofed: any, priority 0"
    assert parsed("empty").deciding(arrives=False).text(rules) == "core: no flow in table 0"


def test_all_ports_of_a_flood_count_and_each_branch_is_followed() -> None:
    found = parsed("flood")
    assert found.outputs == {1, 5, 7, 8, 9}
    assert [each.switch for each in found.met if each.tracked] == ["fw3", "fw1", "fw2"]


def test_a_changed_packet_arrives_too_and_a_sampled_one_does_not() -> None:
    assert parsed("tagged").outputs == {8}
    assert parsed("sampled").outputs == frozenset()
    whole = recorded("sampled").replace("userspace(pid", "sample(sample=100.0%,actions(meter(87),userspace(pid")
    whole = whole.replace("max_len=128))", "max_len=128))))")
    assert ofproto.parse(whole, ZONES).outputs == frozenset(), "with the switch's own meter for its controller"
    assert ofproto.parse(whole.replace("meter(87)", "meter(87),7"), ZONES).outputs == {7}, "the control"
    cloned = recorded("tagged").replace("push_vlan(vid=7,pcp=0),8", "clone(ct(commit,zone=1),8),set(ipv4(ttl=1)),6")
    assert ofproto.parse(cloned, ZONES).outputs == {6, 8}


@pytest.mark.parametrize("name", ["group", "endless"])
def test_an_answer_that_leaves_something_open_is_no_answer(name: str) -> None:
    with pytest.raises(RefusedError, match="not understood"):
        parsed(name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Datapath actions: drop", ""),
        ("Datapath actions: drop", "Datapath actions: lucky(1)"),
        ("Datapath actions: drop", "Datapath actions: clone(8"),
        ("Datapath actions: drop", "Datapath actions: 8 9"),
        ("Datapath actions: drop", "Datapath actions: drop\nDatapath actions: 8"),
        ("recirc(0x", "recirc(0x9"),
        ("Flow: tcp", "Packet: tcp"),
        (", priority 100,", ", prior 100,"),
        (" 2. priority 0, cookie 0xc", " 2. prior 0, cookie 0xc"),
        ("ct_zone=2", "ct_zone=77"),
    ],
)
def test_what_is_not_understood_is_never_a_no(old: str, new: str) -> None:
    text = recorded("denied")
    changed = text.replace(old, new, 1)
    assert changed != text
    with pytest.raises(RefusedError, match="not understood"):
        ofproto.parse(changed, ZONES)


@pytest.mark.parametrize("kept", range(0, len((DATA / "denied.txt").read_text()) - 24, 40))
def test_an_answer_cut_short_is_none(kept: int) -> None:
    with pytest.raises(RefusedError):
        ofproto.parse(recorded("denied")[:kept], ZONES)


def test_the_question_says_where_the_packet_comes_in(plan: Plan) -> None:
    bridge, flow, *rest = ofproto.request(plan, Question("srv2", "srv1", "tcp", 3306))
    assert (bridge, rest) == ("fw2", ["--ct-next", "trk,new"] * 2)
    assert flow.startswith("in_port=2,dl_src=02:00:00:00:03:0c,dl_dst=02:00:00:00:03:0b,dl_type=0x0800,")
    assert flow.endswith("nw_ttl=64,nw_proto=6,tcp_flags=syn,tcp_src=20000,tcp_dst=3306")
    assert ofproto.request(plan, Question("mon", "lb", "icmp", 8))[1].endswith("nw_proto=1,icmp_type=8")
    protocol = ofproto.request(plan, Question("mon", "lb", "ip", 6, tracker="inv"))
    assert protocol[1].endswith("nw_proto=6")
    assert protocol[2:] == ("--ct-next", "trk,inv")


def test_answers_are_matched_to_the_destinations_own_port(
    plan: Plan, rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"dpctl/show": "ports", "ofproto/trace": "web"}
    monkeypatch.setattr(vswitchd, "tell", lambda command, *_: recorded(answers[command]))
    questions = [Question("lb", "srv1", "tcp", 80), Question("lb", "srv2", "tcp", 80)]
    assert [each.arrives for each in ofproto.traced(plan, rules, questions)] == [True, False]
    monkeypatch.setattr(vswitchd, "tell", lambda *_: "port 1: core\n")
    with pytest.raises(RefusedError, match="no port fw1-eth2"):
        ofproto.traced(plan, rules, questions[:1])


def test_one_packet_of_each_class_is_asked_about(
    plan: Plan, rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {
        "src": "lb",
        "dst": "srv1",
        "policy": [
            {"kind": "tcp", "values": [[80, 80]], "rule": "web"},
            {"kind": "tcp", "values": [[1, 79], [81, 65535]], "rule": DENY_REST.name},
            {"kind": "icmp", "values": [[8, 8], [13, 13], [17, 17]], "rule": DENY_REST.name},
            {"kind": "icmp", "values": [[0, 7], [9, 12], [14, 16], [18, 255]], "rule": INVALID},
        ],
        "proof": {"tcp": [[80, 90]]},
    }
    spans = list(ofproto.classes(pair))
    assert [span[1:] for span in spans if span[0] == "tcp"] == [(0, 0), (1, 79), (80, 80), (81, 90), (91, 65535)]
    assert {kind: sum(high - low + 1 for each, low, high in spans if each == kind) for kind in KINDS} == COUNTS
    asked: list[Question] = []

    def answered(_plan: Plan, _rules: object, questions: list[Question]) -> list[Traced]:
        asked.extend(questions)
        return [Traced(each, each.value == 80, "a flow") for each in questions]

    monkeypatch.setattr(ofproto, "traced", answered)
    rows = ofproto.asked(plan, rules, random.Random(1), pair)
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert [row["arrives"] for row in rows if row["kind"] == "tcp"] == [False, False, True, False, False]
    assert {each.value for each in asked if each.kind == "icmp" and each.tracker == "new"} == {8, 13, 17}
