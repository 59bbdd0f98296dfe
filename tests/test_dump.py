"""Flows read back from a switch's own words."""

from __future__ import annotations

import pytest

from controllers.flow import CT_EST, CT_NEW, CT_TRK, Conntrack, Flow, Goto, Output, Sample
from controllers.ovs.dump import parse, parse_flow
from topo.errors import RefusedError

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
