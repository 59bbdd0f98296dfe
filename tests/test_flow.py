"""A flow's text in ovs-ofctl's syntax, and its JSON for the controller."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from controllers.compile import OWN_COOKIES
from controllers.desired import Desired, controller_file
from controllers.flow import (
    CT_EST,
    CT_INV,
    CT_NEW,
    CT_TRK,
    Action,
    Conntrack,
    Flow,
    Goto,
    MatchValue,
    Output,
    Sample,
    SetField,
    of_switch,
)
from controllers.policy import Rule
from topo.plan import Plan


@pytest.mark.parametrize(
    ("match", "actions", "text"),
    [
        ({}, (), ",actions=drop"),
        ({"in_port": 3}, (Output(2),), ",in_port=3,actions=output:2"),
        ({"vlan_vid": 0}, (Goto(4),), ",vlan_tci=0x0000/0x1fff,actions=goto_table:4"),
        (
            {"eth_type": 0x0800, "ip_proto": 6, "ipv4_src": "10.0.1.1", "tcp_dst": 80},
            (),
            ",dl_type=0x800,nw_proto=6,nw_src=10.0.1.1,tcp_dst=80,actions=drop",
        ),
        ({"eth_type": 0x0806, "arp_spa": "10.0.1.1"}, (), ",dl_type=0x806,arp_spa=10.0.1.1,actions=drop"),
        (
            {"ct_state": (CT_TRK | CT_NEW, CT_TRK | CT_NEW | CT_EST | CT_INV), "ct_mark": 17},
            (),
            ",ct_state=+new-est-inv+trk,ct_mark=0x11,actions=drop",
        ),
        ({}, (Conntrack(7, table=2),), ",actions=ct(zone=7,table=2)"),
        (
            {},
            (Conntrack(7, commit=True, mark=5), Goto(3)),
            ",actions=ct(commit,zone=7,exec(set_field:0x5->ct_mark)),goto_table:3",
        ),
        ({"in_port": 3}, (Sample(12),), ",in_port=3,actions=meter:12,CONTROLLER:128"),
        (
            {"in_port": 3},
            (SetField("eth_dst", "02:00:00:00:00:01"), SetField("ipv4_dst", "10.0.1.66"), Output(90)),
            ",in_port=3,actions=set_field:02:00:00:00:00:01->eth_dst,set_field:10.0.1.66->ip_dst,output:90",
        ),
    ],
)
def test_text(match: dict[str, MatchValue], actions: tuple[Action, ...], text: str) -> None:
    flow = Flow("core", 1, 100, 1005, tuple(match.items()), actions)
    assert flow.text() == f"cookie=0x3ed,table=1,priority=100{text}"


def test_the_controllers_file_holds_every_flow_by_dpid(
    plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], tmp_path: Path
) -> None:
    (tmp_path / "flows.json").write_text(controller_file(plan, rules, flows))
    content = json.loads((tmp_path / "flows.json").read_text())
    desired = Desired(tmp_path / "flows.json", tmp_path / "overlays.json")
    assert desired.plan == plan
    assert desired.switches == {str(s.dpid): s.name for s in plan.switches}
    assert desired.hosts["10.0.3.11"] == "srv1"
    dropping = {str(len(rules)): "deny-rest"}
    for name in ("fragment", "spoofed", "invalid", "no-route", "arp-unknown", "block"):
        dropping[str(OWN_COOKIES[name])] = name
    assert content["rules"] == dropping
    policy = {str(number): [rule.name, rule.action] for number, rule in enumerate(rules, start=1)}
    assert content["counted"] == {**{cookie: [name, "deny"] for cookie, name in dropping.items()}, **policy}
    for switch in plan.switches:
        assert content["flows"][str(switch.dpid)] == json.loads(
            json.dumps([flow.as_dict() for flow in of_switch(flows, switch.name)])
        )


@pytest.mark.parametrize("switch", ["core", "fw1", "fw2", "fw3"])
def test_the_flows_of_each_switch(flows: tuple[Flow, ...], switch: str, golden: Callable[[str, str], None]) -> None:
    golden(f"flows/{switch}.txt", "".join(f"{flow.text()}\n" for flow in of_switch(flows, switch)))
