"""Open vSwitch's own word and malformed packets on a real testbed; and flows by hand that must change what they say."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import PROJECT, RULES, RunningTestbed

from controllers.policy import decide
from experiments.firewall_matrix.malformed import contradictions, inconclusive
from topo.plan import plan
from topo.profile import Profile

pytestmark = [pytest.mark.root, pytest.mark.alone]
SECONDS = 180  # most of it is crafting: 2000 packets by Scapy
PLAN = plan(Profile())
ATTACKER, LB = PLAN.host("attacker"), PLAN.host("lb")
IN_PORTS = {far.node: own.port for own, far in PLAN.links_of("core")}

# run inside the box, with the hosts' pids: as much of a testbed as is needed
INSIDE = """
import json, sys, zlib
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from controllers.policy import policy
from experiments.firewall_matrix.tries import send
from experiments.firewall_matrix.ofproto import Question, traced
from experiments.engine.run import Run
from testbed.namespaces import Inside
from topo.folders import opened
from topo.plan import plan
from topo.profile import Profile
what, folder, asked = sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin)
design = plan(Profile())
rules = policy(design)
bed = SimpleNamespace(plan=design, inside=lambda name: Inside(name, asked[name], folder))
if what == "malformed":
    # tokens of its own: the tracker may hold pieces from the test before, and let them out now
    print(json.dumps(send(bed, Run(opened(folder), seed=zlib.crc32(bytes(folder))), rules)))
else:
    print(json.dumps([asdict(each) for each in traced(design, rules, [Question(*each) for each in asked])]))
"""


def inside(bed: RunningTestbed, what: str, asked: Any, folder: Path) -> Any:
    words = ("env", f"PYTHONPATH={PROJECT}", sys.executable, "-c", INSIDE, what, str(folder))
    done = bed.exec("box", *words, input=json.dumps(asked), seconds=SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tried(bed: RunningTestbed, folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = inside(bed, "malformed", bed.commands.entry(bed.name)["hosts"], folder)
    return rows


def traced(bed: RunningTestbed, folder: Path, *questions: tuple[str, str, str, int]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = inside(bed, "trace", questions, folder)
    return answers


@contextmanager
def by_hand(bed: RunningTestbed, switch: str, match: str, actions: str) -> Iterator[None]:
    """A flow that nobody compiled, on a switch for a while."""
    ovs = ("ovs-ofctl", "-O", "OpenFlow13")
    bed.run("box", *ovs, "add-flow", switch, f"{match},actions={actions}")
    try:
        yield
    finally:
        bed.run("box", *ovs, "--strict", "del-flows", switch, match)
        for host in bed.commands.entry(bed.name)["hosts"]:  # what got through the hole may be believed for long
            bed.exec(host, "ip", "neigh", "flush", "all")


QUESTIONS = [
    (src.name, dst.name, kind, value)
    for src in PLAN.hosts
    for dst in PLAN.hosts
    if src != dst
    for kind, values in {"tcp": (22, 53, 80, 443, 3306, 8404), "udp": (53, 123), "icmp": (8, 13), "ip": (47,)}.items()
    for value in values
]


def test_open_vswitch_says_what_the_policy_says(bed: RunningTestbed, tmp_path: Path) -> None:
    answers = traced(bed, tmp_path, *QUESTIONS)
    assert len(answers) == len(QUESTIONS) == 56 * 11
    for question, answer in zip(QUESTIONS, answers, strict=True):
        rule = decide(RULES, PLAN, *question)
        assert answer["arrives"] == (rule.action == "allow"), (question, answer)
        assert f": {rule.name}: " in answer["flow"], (question, answer)


def test_another_flow_changes_what_it_says_and_is_named(bed: RunningTestbed, tmp_path: Path) -> None:
    question = ("attacker", "lb", "tcp", 22)
    assert [each["arrives"] for each in traced(bed, tmp_path, question)] == [False]
    match = f"table=2,priority=30000,ct_state=+new+trk,tcp,nw_src={ATTACKER.ip},nw_dst={LB.ip},tp_dst=22"
    with by_hand(bed, "core", match, "goto_table:3"):
        (answer,) = traced(bed, tmp_path, question)
    assert answer["arrives"]
    assert "priority 30000" in answer["flow"]
    assert not traced(bed, tmp_path, question)[0]["arrives"]


def test_no_malformed_packet_gets_where_it_may_not(bed: RunningTestbed, tmp_path: Path) -> None:
    rows = tried(bed, tmp_path)
    assert contradictions(rows) == []
    assert inconclusive(rows) == []
    arrived = {row["packet"] for row in rows if row["arrived"]}
    assert {"well-formed SYN", "well-formed ARP request", "ACK without a connection", "TTL 1"} <= arrived


@pytest.mark.parametrize(
    ("match", "actions", "expected"),
    [
        (
            f"table=0,priority=400,in_port={IN_PORTS['attacker']},vlan_tci=0x1000/0x1000,dl_dst={LB.mac}",
            f"output:{IN_PORTS['lb']}",
            {"VLAN tag", "VLAN tag for priority alone", "two VLAN tags", "VLAN tag in a provider's tag"},
        ),
        (
            f"table=0,priority=400,ip,in_port={IN_PORTS['attacker']}",
            "goto_table:1",
            {"another's address", "another's address and MAC", "data injected, to the server"},
        ),
        (
            f"table=0,priority=400,arp,in_port={IN_PORTS['attacker']}",
            "goto_table:4",
            {"ARP reply for another's address", "ARP request as from another", "ARP reply with another's MAC"},
        ),
    ],
    ids=["tags", "a false name", "ARP"],
)
def test_a_leak_made_by_hand_is_found(
    match: str, actions: str, expected: set[str], bed: RunningTestbed, tmp_path: Path
) -> None:
    with by_hand(bed, "core", match, actions):
        found = contradictions(tried(bed, tmp_path))
    assert {each["src"] for each in found} == {"attacker"}
    assert {each["packet"] for each in found} >= expected


def test_where_no_well_formed_packet_is_seen_nothing_is_known(bed: RunningTestbed, tmp_path: Path) -> None:
    with by_hand(bed, "core", f"table=0,priority=400,in_port={IN_PORTS['attacker']}", "drop"):
        rows = tried(bed, tmp_path)
    assert contradictions(rows) == []
    assert "attacker -> lb: well-formed ARP request did not arrive" in inconclusive(rows)
