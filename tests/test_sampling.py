"""Which flows tell the controller, through which meters; and that a sample lets nothing arrive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers import sampling
from controllers.compile import ARP, BIND, FORWARD, OWN_COOKIES, POLICY, compile_flows, overlay_flows, rule_number
from controllers.flow import Flow, Goto, Output, Sample, of_switch
from controllers.overlay import black_hole, block, fence
from controllers.policy import DENY_REST, Rule
from controllers.verify.packetset import Space
from controllers.verify.proof import Proof
from controllers.verify.tables import Tables
from experiments.firewall_matrix.checks import samples_doubts, samples_numbers, samples_wrong
from experiments.firewall_matrix.measure import between
from topo.plan import Plan, plan
from topo.profile import Profile

Flows = tuple[Flow, ...]
NO_SCANS = Rule("no-scans", "internet", "servers", "tcp", ((1, 1000),), "deny", "nobody looks around")


def meters(flows: Flows, switch: str) -> dict[int, set[tuple[int, int]]]:
    """meter -> the (cookie, port) that it is for; a host's flows are those of its port."""
    there = plan(Profile())
    ports = {host.ip: end.port for end, _ in there.links_of(switch) for host in there.behind(end)}
    found: dict[int, set[tuple[int, int]]] = {}
    for flow in of_switch(flows, switch):
        match = dict(flow.match)
        port = match.get("in_port") or ports.get(str(match.get("ipv4_src")))
        for action in flow.actions:
            if isinstance(action, Sample):
                assert isinstance(port, int)
                found.setdefault(action.meter, set()).add((flow.cookie, port))
    return found


@pytest.mark.parametrize("switch", ["core", "fw1"])
def test_every_rule_has_a_meter_for_each_port(plan: Plan, rules: tuple[Rule, ...], switch: str) -> None:
    flows = compile_flows(plan, (NO_SCANS, *rules))
    found = meters(flows, switch)
    assert sorted(found) == list(range(1, len(found) + 1))
    assert all(len(each) == 1 for each in found.values())
    causes = {cookie for ((cookie, _),) in found.values()}
    own = {OWN_COOKIES[name] for name in ("fragment", "spoofed", "invalid", "no-route", "arp-unknown")}
    here = {1} if switch == "fw1" else set()  # the firewalls decide about what is meant for servers
    assert causes == {*own, rule_number((NO_SCANS, *rules), "deny-rest"), *here}


def test_all_of_a_rules_flows_for_one_source_share_its_meter(plan: Plan) -> None:
    flows = compile_flows(plan, (NO_SCANS, DENY_REST))
    denying = [flow for flow in of_switch(flows, "fw1") if flow.cookie == 1]
    assert len(denying) > 3
    assert len({flow.actions for flow in denying}) == 1, "all of the internet is behind one port of a firewall"


def test_what_faults_and_fences_drop_is_not_sampled_for_it_says_nothing_of_the_sender(plan: Plan) -> None:
    for overlay in (fence(plan, "srv1"), black_hole(plan, "lb", "srv1")):
        assert not any(isinstance(action, Sample) for flow in overlay_flows(plan, overlay) for action in flow.actions)


def test_what_a_block_drops_is_sampled_by_a_meter_of_its_own(plan: Plan, flows: Flows) -> None:
    (client,), (attacker,) = (overlay_flows(plan, block(plan, name)) for name in ("client", "attacker"))
    own = {number for flow in (client, attacker) for number in meters((flow,), "core")}
    assert len(own) == 2
    assert not own & meters(flows, "core").keys()
    assert client.drops


def test_without_meters_nothing_is_sampled_and_nothing_else_changes(flows: Flows) -> None:
    bare = sampling.unsampled(flows, ["fw1", "core"])
    assert len(bare) == len(flows)
    for was, now in zip(flows, bare, strict=True):
        if was.drops and was.switch in ("fw1", "core"):
            assert now == replace(was, actions=())
        else:
            assert now == was
    assert not meters(bare, "fw1")
    assert meters(bare, "fw2")


def test_the_bound_is_that_of_the_rules_or_of_the_switch(flows: Flows) -> None:
    one = tuple(flow for flow in flows if flow.actions == (Sample(1),) and flow.switch == "core")
    assert sampling.most(one, 10) == 10 * sampling.RATE + sampling.BURST
    assert sampling.most(of_switch(flows, "core"), 10) == 10 * sampling.SWITCH_RATE + sampling.SWITCH_BURST
    assert sampling.most(sampling.unsampled(flows, ["core", "fw1", "fw2", "fw3"]), 10) == 0


def test_the_proof_says_the_same_of_samples_as_of_drops(plan: Plan, rules: tuple[Rule, ...], flows: Flows) -> None:
    proof = Proof(plan)
    sampled, bare = (proof.check(each, rules) for each in (flows, sampling.unsampled(flows, ["core", "fw1", "fw2"])))
    assert sampled.holds
    assert sampled.reach.arrived == bare.reach.arrived
    hole = Flow("fw1", POLICY, 2, 0, (), (Goto(FORWARD),))
    assert not proof.check((*flows, hole), rules).holds, "the control: what goes on is seen"


@pytest.mark.parametrize("table", [BIND, POLICY, FORWARD, ARP])
def test_a_default_said_for_each_port_too_is_the_same_set(flows: Flows, table: int) -> None:
    tables = Tables(Space())
    here = [flow for flow in of_switch(flows, "core") if flow.table == table]
    plain = [flow for flow in here if not flow.drops or not flow.actions]
    assert len(plain) < len(here)
    assert tables.table(here) is tables.table(plain)
    for flow in here:
        if flow.drops and flow.actions:
            hole = [replace(each, actions=(Output(1),)) if each is flow else each for each in here]
            assert tables.table(hole) is not tables.table(plain), "the control: one that lets something through"


# --- what a scan made the controller do ----------------------------------------------------------------------------

GOOD = {"seconds": 10.0, "most": 600.0, "cpu_s": 0.12, "packet_ins": {"core": 100, "fw1": 120}}


def test_as_many_samples_as_meters_let_pass_are_right() -> None:
    assert (samples_wrong(GOOD), samples_doubts(GOOD)) == ([], [])
    assert samples_numbers(GOOD) == {"packet_ins": 220, "packet_ins_most": 600.0, "controller_cpu": 0.012}


def test_one_more_is_wrong() -> None:
    bad = {**GOOD, "packet_ins": {"core": 601}}
    assert samples_wrong(bad) == ["the controller was sent 601 packets in 10 s; meters let 600 pass"]


def test_a_controller_that_was_replaced_is_unknown() -> None:
    before = {"pid": 7, "cpu_s": 1.0, "packet_ins": {"core": 5}}
    after = {"pid": 7, "cpu_s": 1.5, "packet_ins": {"core": 9, "fw1": 1}}
    assert between(before, after) == {"cpu_s": 0.5, "packet_ins": {"core": 4, "fw1": 1}}
    for pair in ((before, {**after, "pid": 8}), (None, after), (before, None)):
        unknown = {**GOOD, **between(*pair)}
        assert (samples_wrong(unknown), len(samples_doubts(unknown))) == ([], 1)
        assert samples_numbers(unknown)["packet_ins"] is None
