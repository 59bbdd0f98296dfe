"""The tracker's entries, and what becomes of them under another policy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.ovs.conntrack import Connection, judged, parse
from controllers.policy import Rule, policy
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

FIREWALLS_ON = policy(plan_of(Profile()))
WEB, PING = (next(rule for rule in FIREWALLS_ON if rule.name == name) for name in ("web", "site-ping"))
DUMP = f"""\
tcp,orig=(src=10.0.2.10,dst=10.0.3.11,sport=40001,dport=80),reply=(src=10.0.3.11,dst=10.0.2.10,sport=80,dport=40001),\
zone=2,mark={WEB.mark},protoinfo=(state=ESTABLISHED)
icmp,orig=(src=10.0.1.10,dst=10.0.2.10,id=7,type=8,code=0),reply=(src=10.0.2.10,dst=10.0.1.10,id=7,type=0,code=0),\
zone=1,mark={PING.mark}
igmp,orig=(src=10.0.1.10,dst=10.0.2.10),reply=(src=10.0.2.10,dst=10.0.1.10),zone=1
47,orig=(src=10.0.1.10,dst=10.0.2.10,sport=0,dport=0),reply=(src=10.0.2.10,dst=10.0.1.10,sport=0,dport=0),zone=1,mark=9
icmpv6,orig=(src=fe80::1,dst=ff02::2,id=0,type=133,code=0),reply=(src=ff02::2,dst=fe80::1,id=0,type=134,code=0),zone=1
udp,orig=(src=10.9.9.9,dst=10.0.2.10,sport=1,dport=2),reply=(src=10.0.2.10,dst=10.9.9.9,sport=2,dport=1)
"""
TCP, ECHO, IGMP, GRE, NEIGHBOUR, STRANGE = parse(DUMP)


def test_what_open_vswitch_prints() -> None:
    ports = (("sport", 40001), ("dport", 80))
    assert Connection(2, WEB.mark, 6, "10.0.2.10", "10.0.3.11", ports) == TCP
    assert (TCP.proto, TCP.asked, ECHO.proto, ECHO.asked, ECHO.zone) == ("tcp", 80, "icmp", 8, 1)
    assert (NEIGHBOUR.proto, NEIGHBOUR.asked, NEIGHBOUR.ports) == ("ip", 58, ())
    assert (IGMP.proto, IGMP.asked, GRE.proto, GRE.asked) == ("ip", 2, "ip", 47)
    assert (STRANGE.zone, STRANGE.mark) == (0, 0)


def test_what_it_is_told_to_forget() -> None:
    assert TCP.words() == (
        "zone=2",
        "ct_nw_src=10.0.2.10,ct_nw_dst=10.0.3.11,ct_nw_proto=6,ct_tp_src=40001,ct_tp_dst=80",
    )
    assert GRE.words() == ("zone=1", "ct_nw_src=10.0.1.10,ct_nw_dst=10.0.2.10,ct_nw_proto=47")
    assert ECHO.words()[1].endswith("ct_nw_proto=1,icmp_id=7,icmp_type=8,icmp_code=0")


@pytest.mark.parametrize(
    ("change", "becomes"),
    [
        (lambda rules: rules, "kept"),
        (lambda rules: tuple(rule for rule in rules if rule.name != "web"), "cut"),
        (lambda rules: (Rule("shut", "any", "srv1", "any", None, "deny", ""), *rules), "cut"),
        (lambda rules: tuple(reversed(rules[:-1])) + rules[-1:], "kept"),
        (
            lambda rules: (
                Rule("wide", "any", "srv1", "tcp", None, "allow", ""),
                *(rule for rule in rules if rule.name != "web"),
            ),
            "anew",
        ),
    ],
)
def test_what_becomes_of_a_connection(plan: Plan, change: object, becomes: str) -> None:
    found = judged([TCP], change(FIREWALLS_ON), plan)  # type: ignore[operator]
    assert [kind for kind, each in vars(found).items() if each] == [becomes]


def test_nobody_is_let_go_on_who_is_not_in_the_plan(plan: Plan) -> None:
    assert judged([STRANGE], FIREWALLS_ON, plan).cut == [STRANGE]


def test_a_rules_mark_follows_from_what_it_says_alone() -> None:
    assert replace(WEB, name="x", why="y").mark == WEB.mark
    others = [replace(WEB, dst="srv1"), replace(WEB, port=81), replace(WEB, action="deny"), replace(WEB, port=None)]
    assert len({WEB.mark, *(rule.mark for rule in others)}) == 5
    marks = [rule.mark for rule in FIREWALLS_ON]
    assert len(set(marks)) == len(marks)
    assert all(0 < mark < 1 << 32 for mark in marks)
