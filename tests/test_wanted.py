"""What the controller wants: given flows and asked-for fences; remembered between two processes; whole files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flowtable import SimulatedNetwork, answer, first

from controllers.compile import OWN_COOKIES, compile_flows, controller_file, fence_flows
from controllers.desired import Wanted
from controllers.flow import Flow
from controllers.policy import Rule, policy
from topo.errors import UsageError
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import Profile


@pytest.fixture
def wanted(tmp_path: Path, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> Wanted:
    (tmp_path / "flows.json").write_text(controller_file(plan, rules, flows))
    return Wanted(tmp_path / "flows.json", tmp_path / "fences.json")


def test_a_fence_adds_its_flows_to_the_hosts_own_switch_only(wanted: Wanted, plan: Plan) -> None:
    before = {dpid: wanted.flows(dpid) for dpid in wanted.switches}
    added = wanted.fence("srv2")
    assert list(added) == [str(plan.switch("fw2").dpid)]
    assert {flow["cookie"] for flow in added["3"]} == {OWN_COOKIES["fenced"], OWN_COOKIES["bound"]}
    assert wanted.flows("3") == [*before["3"], *added["3"]]
    assert all(wanted.flows(dpid) == before[dpid] for dpid in before if dpid != "3")
    assert wanted.unfence("srv2") == added
    assert wanted.flows("3") == before["3"]


def test_fences_outlive_the_process_that_was_asked(wanted: Wanted, tmp_path: Path) -> None:
    wanted.fence("srv3")
    wanted.fence("srv1")
    wanted.fence("srv1")
    later = Wanted(tmp_path / "flows.json", tmp_path / "fences.json")
    assert later.fences == ["srv1", "srv3"]
    assert len(later.flows("2")) == len(wanted.flows("2")) > len(later.flows("3"))
    later.unfence("srv1")
    assert json.loads((tmp_path / "fences.json").read_text()) == ["srv3"]


def test_what_is_not_fenced_may_be_unfenced_and_what_has_no_database_neither(wanted: Wanted) -> None:
    wanted.unfence("srv1")
    for change in (wanted.fence, wanted.unfence):
        with pytest.raises(UsageError, match=r"^srv9: no host with a database; .* \(did you mean srv\d\?\)$"):
            change("srv9")
    assert wanted.fences == []


@pytest.mark.parametrize("host", ["srv1", "srv2", "lb"])
def test_the_monitoring_host_passes_a_fence_and_nobody_in_its_name(plan: Plan, host: str) -> None:
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
            assert dropped.cookie == OWN_COOKIES["fenced"]
        for again in (first(peer, asked, "tcp", 80), first(peer, asked, "udp", 3306), first(peer, other, "tcp", 3306)):
            assert fenced.send(peer.name, again).arrived
        back = first(asked, other, "tcp", 3306)
        assert fenced.send(asked.name, back).arrived == other.name
        assert fenced.send(other.name, answer(back)).arrived == asked.name
