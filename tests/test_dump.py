"""Flows read back from a switch's own words."""

from __future__ import annotations

import pytest
from ovs.flow.ofp import OFPFlow

from controllers.compile import overlay_flows
from controllers.flow import CT_EST, CT_NEW, CT_TRK, OVS_NAMES, Conntrack, Flow, Goto, Output, Sample, SetField
from controllers.overlay import black_hole, block, fence, redirect
from controllers.ovs.dump import OXM_NAMES, parse, parse_flow
from topo.errors import RefusedError
from topo.plan import Plan

STATISTICS = "duration=3.004s, {table}n_packets=17, n_bytes=1650, "


def test_a_flows_own_text_is_the_flow(flows: tuple[Flow, ...]) -> None:
    for flow in flows:
        read = parse_flow(flow.switch, flow.text())
        assert (dict(read.match), read.actions) == (dict(flow.match), flow.actions)
        assert (read.switch, read.table, read.priority, read.cookie) == (
            flow.switch,
            flow.table,
            flow.priority,
            flow.cookie,
        )


def test_what_open_vswitch_prints() -> None:
    text = """OFPST_FLOW reply (OF1.3) (xid=0x2):
 cookie=0x3e8, duration=3.004s, table=0, n_packets=17, n_bytes=1650, priority=100,ip,in_port=1,vlan_tci=0x0000/0x1fff,\
dl_src=02:00:00:00:01:0a,nw_src=10.0.1.10 actions=goto_table:1
 cookie=0x6, duration=3.004s, table=2, n_packets=0, n_bytes=0, priority=29994,ct_state=+new-est+trk,tcp,\
nw_src=10.0.2.0/24,tp_dst=0x1f40/0xffc0 actions=ct(commit,zone=2,exec(load:0xaf17eb92->NXM_NX_CT_MARK[])),goto_table:3
 cookie=0x0, duration=3.004s, table=3, n_packets=0, n_bytes=0, idle_age=2, priority=0 actions=drop
 cookie=0xc, duration=3.004s, table=2, n_packets=5, n_bytes=300, priority=1,in_port=1 actions=meter:5,CONTROLLER:128
"""
    bound, web, rest, sampled = parse("fw1", text)
    assert dict(bound.match) == {
        "eth_type": 0x0800,
        "in_port": 1,
        "vlan_vid": 0,
        "eth_src": "02:00:00:00:01:0a",
        "ipv4_src": "10.0.1.10",
    }
    assert bound.actions == (Goto(1),)
    assert dict(web.match) == {
        "ct_state": (CT_TRK | CT_NEW, CT_TRK | CT_NEW | CT_EST),
        "eth_type": 0x0800,
        "ip_proto": 6,
        "ipv4_src": (0x0A000200, 0xFFFFFF00),
        "tcp_dst": (0x1F40, 0xFFC0),
    }
    assert web.actions == (Conntrack(2, commit=True, mark=0xAF17EB92), Goto(3))
    assert (rest.priority, rest.match, rest.actions) == (0, (), ())
    assert (sampled.actions, sampled.drops) == ((Sample(5),), True)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("dl_vlan=5", {"vlan_tci": (0x1005, 0x1FFF)}),
        ("dl_vlan=0xffff", {"vlan_vid": 0}),
        ("ip,nw_frag=later", {"eth_type": 0x0800, "ip_frag": 3}),
        ("ct_state=new|trk", {"ct_state": (CT_TRK | CT_NEW, 0xFF)}),
        ("dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", {"eth_dst": (1 << 40, 1 << 40)}),
    ],
)
def test_matches(words: str, match: dict[str, object]) -> None:
    read = parse_flow("core", f"table=0,priority=5,{words} actions=output:2")
    assert (dict(read.match), read.actions) == (match, (Output(2),))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("priority=1 actions=NORMAL", "action NORMAL"),
        ("priority=1,nw_tos=4 actions=drop", "field nw_tos"),
        ("priority=1,idle_timeout=5 actions=drop", "a flow that expires"),
        ("priority=1,tp_dst=80 actions=drop", "ip_proto"),
        ("priority=1,ip actions=ct(zone=1,nat)", "ct's nat"),
        ("priority=1,ip actions=CONTROLLER:128", "action CONTROLLER:128"),  # as many as there are packets
        ("priority=1,ip actions=meter:1,CONTROLLER:65535", "action meter:1"),
        ("priority=1,ip actions=meter:1,goto_table:3", "action meter:1"),  # what is let through, and when?
    ],
)
def test_what_is_not_understood_is_refused(line: str, said: str) -> None:
    with pytest.raises(RefusedError, match=f"core: a flow that is not understood .*{said}"):
        parse("core", line)


def dumped(flow: Flow) -> str:
    """A flow as ovs-ofctl lays out a line."""
    place, _, actions = flow.text().partition(",actions=")
    return place.replace(",", ", ", 2) + f" actions={actions}"


def test_open_vswitchs_own_reader_reads_the_same(flows: tuple[Flow, ...], plan: Plan) -> None:
    """Another reader of what is dumped: the package ``ovs``. Compared: places, names of fields, numbers, actions."""
    above = [
        fence(plan, "srv1"),
        black_hole(plan, "lb", "srv1"),
        block(plan, "attacker"),
        redirect(plan, "srv1", 443, "attacker", 90),
    ]
    for flow in (*flows, *(flow for overlay in above for flow in overlay_flows(plan, overlay))):
        theirs, ours = OFPFlow(dumped(flow)), parse_flow(flow.switch, flow.text())
        assert (theirs.info["table"], theirs.info["cookie"]) == (ours.table, ours.cookie)
        match = dict(theirs.match)
        assert match.pop("priority") == ours.priority
        assert {OVS_NAMES.get(name, name) for name, _ in ours.match} == {
            {"vlan_tci": "vlan_vid"}.get(name, name) for name in match
        }
        for name in ("in_port", "nw_proto", "tcp_dst", "tcp_src", "udp_dst"):
            if name in match:
                assert int(str(match[name]), 0) == dict(ours.match)[OXM_NAMES.get(name, name)]
        for name in ("nw_src", "nw_dst", "arp_spa", "arp_tpa"):
            if name in match:
                assert str(match[name]) == f"{dict(ours.match)[OXM_NAMES.get(name, name)]}/32"
        kinds = {"goto_table": Goto, "output": Output, "ct": Conntrack, "set_field": SetField, "meter": Sample}
        read = [kinds[next(iter(action))] for action in theirs.actions if next(iter(action)) in kinds]
        assert read == [type(action) for action in ours.actions]
