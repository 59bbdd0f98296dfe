"""Overlays: values, their flows, how they are remembered, and what the proof makes of them beside the policy."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import pytest
from flowtable import SimulatedNetwork, answer, first

from controllers.compile import OWN_COOKIES, compile_flows, overlay_flows
from controllers.desired import Desired, controller_file
from controllers.flow import Flow, of_switch
from controllers.overlay import KINDS, Overlay, black_hole, block, fence, from_dict, named, redirect
from controllers.ovs.dump import parse
from controllers.policy import Rule, policy
from controllers.verify import explain
from controllers.verify.proof import Proof
from topo.errors import UsageError
from topo.plan import DATABASE, Plan
from topo.plan import plan as plan_of
from topo.profile import Profile


@pytest.fixture
def desired(tmp_path: Path, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> Desired:
    (tmp_path / "flows.json").write_text(controller_file(plan, rules, flows))
    return Desired(tmp_path / "flows.json", tmp_path / "overlays.json")


def of_each_kind(plan: Plan) -> list[Overlay]:
    return [
        fence(plan, "srv1"),
        black_hole(plan, "lb", "srv1"),
        block(plan, "attacker", reason="port scan", until=1700000000.0),
        redirect(plan, "srv1", 443, "attacker", 90),
    ]


def fence_flows(plan: Plan, host: str) -> tuple[Flow, ...]:
    """A fence's flows, for a host without a database as well."""
    hosts = tuple(replace(each, roles=(*each.roles, DATABASE)) if each.name == host else each for each in plan.hosts)
    return overlay_flows(plan, fence(replace(plan, hosts=hosts), host))


# --- values --------------------------------------------------------------------------------------------------------


def test_every_kind_has_a_cookie_of_its_own_and_comes_back_from_json_and_from_its_name(plan: Plan) -> None:
    overlays = of_each_kind(plan)
    assert {overlay.kind for overlay in overlays} == set(KINDS)
    for overlay in overlays:
        assert from_dict(json.loads(json.dumps(overlay.as_dict()))) == overlay
        assert replace(named(plan, overlay.name), reason=overlay.reason, until=overlay.until) == overlay
        cookies = {flow.cookie for flow in overlay_flows(plan, overlay)} - {OWN_COOKIES["bound"]}
        assert cookies == {OWN_COOKIES[overlay.kind]}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("fense srv1", r"^fense srv1: no such overlay; kinds: .* \(did you mean fence\?\)$"),
        ("fence", r"^fence: no such overlay of the kind fence$"),
        ("redirect srv1 web attacker 90", r"no such overlay of the kind redirect$"),
        ("block srv9", r"^srv9: no such host"),
        ("black-hole lb srv9", r"^srv9: no such host"),
        ("", "no such overlay"),
    ],
)
def test_what_no_overlay_can_be_called_is_refused_with_a_line(plan: Plan, name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        named(plan, name)


def test_an_overlay_says_what_why_and_until_when(plan: Plan) -> None:
    assert fence(plan, "srv1").text() == "overlay fence srv1: asked for"
    clock = time.strftime("%H:%M:%S", time.localtime(1700000000))
    assert of_each_kind(plan)[2].text() == f"overlay block attacker: port scan, until {clock}"


# --- remembered ----------------------------------------------------------------------------------------------------


def test_a_fence_adds_its_flows_to_the_hosts_own_switch_only(desired: Desired, plan: Plan) -> None:
    before = {dpid: desired.flows(dpid) for dpid in desired.switches}
    overlay = fence(plan, "srv2")
    added = desired.compiled(overlay)
    desired.put(overlay)
    assert list(added) == [str(plan.switch("fw2").dpid)]
    assert {flow["cookie"] for flow in added["3"]} == {OWN_COOKIES["fence"], OWN_COOKIES["bound"]}
    assert desired.flows("3") == [*before["3"], *added["3"]]
    assert all(desired.flows(dpid) == before[dpid] for dpid in before if dpid != "3")
    desired.lift("fence srv2")
    assert desired.flows("3") == before["3"]


def test_overlays_outlive_the_process_that_was_asked(desired: Desired, plan: Plan, tmp_path: Path) -> None:
    for host in ("srv3", "srv1", "srv1"):
        desired.put(fence(plan, host))
    later = Desired(tmp_path / "flows.json", tmp_path / "overlays.json")
    assert [overlay.name for overlay in later.overlays] == ["fence srv1", "fence srv3"]
    assert len(later.flows("2")) == len(desired.flows("2")) > len(later.flows("3"))
    later.lift("fence srv1")
    assert [row["name"] for row in json.loads((tmp_path / "overlays.json").read_text())] == ["fence srv3"]


def test_an_overlay_whose_time_is_over_is_not_desired_by_the_next_process(
    desired: Desired, plan: Plan, tmp_path: Path
) -> None:
    now = time.time()
    desired.put(block(plan, "attacker", until=now - 1))
    desired.put(block(plan, "client", until=now + 60))
    assert desired.over(now) == ["block attacker"]
    later = Desired(tmp_path / "flows.json", tmp_path / "overlays.json")
    assert [overlay.name for overlay in later.overlays] == ["block client"]


def test_what_does_not_stand_may_be_lifted_and_what_has_no_database_cannot_be_fenced(
    desired: Desired, plan: Plan
) -> None:
    desired.lift("fence srv1")
    for make in (lambda: fence(plan, "srv9"), lambda: named(plan, "fence srv9")):
        with pytest.raises(UsageError, match=r"^srv9: no host with a database; .* \(did you mean srv\d\?\)$"):
            make()
    assert desired.overlays == []


# --- flows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["srv1", "srv2", "lb"])
def test_the_monitoring_host_passes_a_fence_and_none_in_its_name(plan: Plan, host: str) -> None:
    """It must be able to close what it has fenced; the policy is asked about it as ever."""
    fenced = SimulatedNetwork(
        plan, (*compile_flows(plan, policy(plan_of(Profile(firewall="off")))), *fence_flows(plan, host))
    )
    asked, mon = plan.host(host), plan.host("mon")
    assert fenced.send("mon", first(mon, asked, "tcp", 3306)).arrived == host
    assert fenced.send(host, answer(first(mon, asked, "tcp", 3306))).arrived == "mon"
    assert not fenced.send("attacker", first(mon, asked, "tcp", 3306)).arrived


@pytest.mark.parametrize("host", ["srv1", "srv2", "lb"])
def test_nothing_passes_a_fence_and_all_else_does(plan: Plan, host: str) -> None:
    """Whoever else is asked with the same packets, with every rule open: the fence alone makes the difference."""
    flows = compile_flows(plan, policy(plan_of(Profile(firewall="off"))))
    fence = fence_flows(plan, host)
    asked, other = plan.host(host), plan.host("srv3")
    for peer in (peer for peer in plan.hosts if peer not in (asked, other, plan.host("mon"))):
        network, fenced = SimulatedNetwork(plan, flows), SimulatedNetwork(plan, (*flows, *fence))
        conversation = first(peer, asked, "tcp", 3306)
        assert network.send(peer.name, conversation).arrived == asked.name
        assert network.send(asked.name, answer(conversation)).arrived == peer.name
        fenced.tracker = network.tracker
        for sender, packet in ((peer, conversation), (asked, answer(conversation))):
            dropped = fenced.send(sender.name, packet).dropped_by
            assert dropped is not None
            assert dropped.cookie == OWN_COOKIES["fence"]
        for again in (first(peer, asked, "tcp", 80), first(peer, asked, "udp", 3306), first(peer, other, "tcp", 3306)):
            assert fenced.send(peer.name, again).arrived
        back = first(asked, other, "tcp", 3306)
        assert fenced.send(asked.name, back).arrived == other.name
        assert fenced.send(other.name, answer(back)).arrived == asked.name


def test_a_block_stops_all_that_a_host_sends_and_nothing_of_others(plan: Plan) -> None:
    flows = compile_flows(plan, policy(plan_of(Profile(firewall="off"))))
    blocked = SimulatedNetwork(plan, (*flows, *overlay_flows(plan, block(plan, "attacker"))))
    attacker, client, lb = (plan.host(name) for name in ("attacker", "client", "lb"))
    dropped = blocked.send("attacker", first(attacker, lb, "tcp", 443)).dropped_by
    assert dropped is not None
    assert dropped.cookie == OWN_COOKIES["block"]
    assert blocked.send("client", first(client, lb, "tcp", 443)).arrived == "lb"
    forged = blocked.send("client", first(attacker, lb, "tcp", 443)).dropped_by
    assert forged is not None
    assert forged.cookie == OWN_COOKIES["spoofed"], "the address alone is not blamed: it may be borrowed"


# --- proved --------------------------------------------------------------------------------------------------------


def seen(plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], overlays: tuple[Overlay, ...]) -> list[str]:
    return explain.differences(plan, flows, rules, Proof(plan).check(flows, rules, overlays), overlays)


@pytest.mark.parametrize(
    "profile", [Profile(), Profile(servers=2, firewall="off"), Profile(db="async"), Profile(db="galera")], ids=str
)
def test_policy_and_overlays_are_proved_together(profile: Profile) -> None:
    plan = plan_of(profile)
    rules = policy(plan)
    flows, proof = compile_flows(plan, rules), Proof(plan)
    names = [host.name for host in plan.hosts]
    single = [
        *(fence(plan, host.name) for host in plan.hosts_of(DATABASE)),
        *(block(plan, name) for name in names),
        *(black_hole(plan, *pair) for pair in permutations(names if profile == Profile() else names[3:6], 2)),
        redirect(plan, "srv1", 443, "attacker", 90),
        redirect(plan, "srv1", 80, "attacker", 90),
    ]
    several = [*combinations(of_each_kind(plan), 2), tuple(of_each_kind(plan))]
    for overlays in (*((overlay,) for overlay in single), *several):
        above = tuple(flow for overlay in overlays for flow in overlay_flows(plan, overlay))
        checked = proof.check((*flows, *above), rules, overlays)
        assert explain.differences(plan, (*flows, *above), rules, checked, overlays) == [], overlays
        assert checked.holds


def test_an_overlay_that_is_not_on_its_switch_is_a_difference_and_named(
    plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]
) -> None:
    wrong = seen(plan, rules, flows, (fence(plan, "srv1", reason="given up"),))
    assert any("arrives, though the overlay fence srv1 stops it (given up); by fw1" in line for line in wrong)
    wrong = seen(plan, rules, flows, (block(plan, "client"),))
    assert any(line.startswith("client -> lb tcp/80,443: arrives, though the overlay block client") for line in wrong)


def test_an_overlay_that_is_on_its_switch_and_not_desired_is_a_difference_and_named(
    plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]
) -> None:
    above = overlay_flows(plan, black_hole(plan, "client", "lb"))
    wrong = seen(plan, rules, (*flows, *above), ())
    assert any(
        "client -> lb tcp/80,443: does not arrive" in line and "core table 0 (black-hole)" in line for line in wrong
    )


def test_rewritten_packets_are_followed_under_their_new_addresses(plan: Plan) -> None:
    """A diversion to a port of the plan is a hole that the proof must see: what was meant for srv1 goes elsewhere."""
    rules = policy(plan_of(Profile(firewall="off")))
    flows = compile_flows(plan, rules)
    overlay = redirect(plan, "srv1", 443, "attacker", 1)
    (there, *_) = overlay_flows(plan, overlay)
    wrong = Proof(plan).check((*flows, there), rules)
    assert not wrong.holds
    assert not wrong.reach.anomalies


@pytest.mark.parametrize("kind", range(4))
def test_a_dumped_overlay_is_read_back(plan: Plan, kind: int) -> None:
    flows = overlay_flows(plan, of_each_kind(plan)[kind])
    for switch in {flow.switch for flow in flows}:
        text = "\n".join(flow.text() for flow in of_switch(flows, switch))
        assert parse(switch, text) == flows
