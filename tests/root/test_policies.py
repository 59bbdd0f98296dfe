"""Policies on real switches: proved, broken by hand, changed while connections are open and the controller dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import RULES, RunningTestbed, one_line

from controllers.policy import Rule
from controllers.policyfile import render
from services.controller import FLOWS
from topo import wait

pytestmark = pytest.mark.root
SECOND_SITE = Rule("second-site", "client", "lb", "tcp", ((8000, 8410), (9000, 9000)), "allow", "a range, in masks")
# a connection that echoes: "open", then for each line of input whether it comes back
TALK = """
import socket, sys
talk = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
talk.settimeout(1)
print("open", flush=True)
for line in sys.stdin:
    talk.sendall(line.encode())
    try: print("answered" if talk.recv(500) else "closed", flush=True)
    except TimeoutError: print("cut", flush=True)
"""
ECHO = """
import socket, sys
listening = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
while True:
    talk, _ = listening.accept()
    while data := talk.recv(500): talk.sendall(data)
"""


@contextmanager
def ends(bed: RunningTestbed) -> Iterator[None]:
    """Something listens on the last port of the range, and on the one after it."""
    with process(bed, "lb", ECHO, "8410"), process(bed, "lb", ECHO, "8411"):
        yield


def verify(bed: RunningTestbed) -> tuple[int, dict[str, Any]]:
    done = bed.commands("verify", "--name", bed.name, "--json")
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def apply(bed: RunningTestbed, path: Path, *rules: Rule) -> dict[str, Any]:
    path.write_text(render(rules))
    done = bed.commands("policy", "apply", str(path), "--name", bed.name, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def restored(bed: RunningTestbed, path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        apply(bed, path, *RULES)


@contextmanager
def process(bed: RunningTestbed, host: str, code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    argv = ("exec", "--name", bed.name, host, "--", "python3", "-c", code, *words)
    with bed.commands.popen(*argv, stdin=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline().strip() in ("open", "listening")
        yield started


def says(talk: subprocess.Popen[str]) -> str:
    assert talk.stdin is not None
    assert talk.stdout is not None
    talk.stdin.write("x\n")
    talk.stdin.flush()
    return talk.stdout.readline().strip()


def test_the_switches_do_what_the_policy_says(bed: RunningTestbed) -> None:
    code, found = verify(bed)
    assert (code, found["differences"]) == (0, [])
    assert found["flows"] > 200


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ("fw1 table=2,priority=35000,tcp,tp_dst=22,actions=goto_table:3", "-> srv1 tcp/22: arrives, though deny-rest"),
        ("fw1 table=2,priority=35000,tcp,tp_dst=80,actions=drop", "lb -> srv1 tcp/80: does not arrive, though web"),
        ("core table=0,priority=200,ip,in_port=2,actions=goto_table:1", "as if from"),
        (
            "core table=0,priority=200,dl_type=0x86dd,actions=output:4",
            "ethertype 0x86dd: arrives, though only IPv4 and ARP",
        ),
    ],
)
def test_a_flow_put_in_by_hand_is_named(second: RunningTestbed, flow: str, said: str) -> None:
    switch, _, text = flow.partition(" ")
    second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "add-flow", switch, text)
    try:
        code, found = verify(second)
    finally:
        match = text.partition(",actions")[0]
        second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "--strict", "del-flows", switch, match)
    assert code == 1
    assert any(said in line for line in found["differences"]), found["differences"]
    assert verify(second)[0] == 0


def test_what_cannot_be_judged_is_unknown(second: RunningTestbed) -> None:
    second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "add-flow", "fw1", "table=9,priority=1,actions=NORMAL")
    try:
        done = second.commands("verify", "--name", second.name)
    finally:
        second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "del-flows", "fw1", "table=9")
    assert done.returncode == 2
    assert "fw1: a flow that is not understood (action NORMAL)" in done.stderr


def test_a_port_is_opened_and_connections_are_judged(second: RunningTestbed, tmp_path: Path) -> None:
    """Open a range; talk through it; shut it: that connection is cut, the others go on, and deny-rest counts it."""
    file = tmp_path / "my.policy"
    with restored(second, file), process(second, "lb", ECHO, "8100"), ends(second):
        assert not second.connects("client", "lb", 8100)
        apply(second, file, SECOND_SITE, *RULES)
        assert verify(second)[0] == 0
        assert second.connects("client", "lb", 8410), "a range has its end"
        assert not second.connects("client", "lb", 8411), "and no more"
        renamed = Rule(**{**vars(SECOND_SITE), "name": "moved"})
        wide = Rule("wide", "client,dns", "lb", "tcp", 8100, "allow", "another rule that allows it too")
        with process(second, "client", TALK, "10.0.2.10", "8100") as talk:
            assert says(talk) == "answered"
            found = apply(second, file, *RULES[:3], renamed, *RULES[3:])
            assert (found["connections"]["cut"], found["changes"]) == (0, [])
            assert says(talk) == "answered", "the same rule under another name and in another place"
            assert apply(second, file, wide, *RULES)["connections"]["anew"] >= 1
            assert says(talk) == "answered", "another rule allows it"
            assert apply(second, file, *RULES)["connections"]["cut"] >= 1
            before = second.counter("core", "deny-rest")
            assert says(talk) == "cut"
            wait.until(
                lambda: None if second.counter("core", "deny-rest") > before else f"{before}, as before",
                what="deny-rest's count of what was cut",
                seconds=5,
            )
        assert second.connects("client", "lb", 443)


def test_a_denial_above_cuts_though_its_rule_remains(second: RunningTestbed, tmp_path: Path) -> None:
    file = tmp_path / "my.policy"
    deny = Rule("not-now", "client", "lb", "any", None, "deny", "above all others")
    with restored(second, file), process(second, "lb", ECHO, "9000"):
        apply(second, file, SECOND_SITE, *RULES)
        with process(second, "client", TALK, "10.0.2.10", "9000") as talk:
            assert says(talk) == "answered"
            apply(second, file, deny, SECOND_SITE, *RULES)
            assert says(talk) == "cut"


def test_other_protocols_conversations_are_judged_too(second: RunningTestbed, tmp_path: Path) -> None:
    """GRE, which no rule can name but "any"."""
    file = tmp_path / "my.policy"
    wide = Rule("tunnel", "client", "lb", "any", None, "allow", "whatever there is")
    send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 47).sendto(bytes(8), ('10.0.2.10', 0))"

    def known() -> list[str]:
        entries = second.run("box", "ovs-appctl", "dpctl/dump-conntrack").splitlines()
        return [entry for entry in entries if entry.startswith(("47,", "gre,"))]

    with restored(second, file):
        apply(second, file, wide, *RULES)
        second.run("client", "python3", "-c", send)
        wait.until(lambda: None if known() else "none", what="a GRE conversation", seconds=5)
        apply(second, file, wide, *RULES)
        assert known(), "the same policy again keeps it"
        apply(second, file, Rule("shut", "client", "lb", "any", None, "deny", "all of it"), wide, *RULES)
        assert known() == []


def test_nothing_is_changed_on_switches_that_are_wrong_already(second: RunningTestbed, tmp_path: Path) -> None:
    """A flow by hand opens what every policy denies."""
    file = tmp_path / "my.policy"
    hole = "table=2,priority=35000,tcp,tp_dst=22"
    second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "add-flow", "fw1", f"{hole},actions=goto_table:3")
    try:
        file.write_text(render((SECOND_SITE, *RULES)))
        done = second.commands("policy", "apply", str(file), "--name", second.name)
    finally:
        second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "--strict", "del-flows", "fw1", hole)
    assert done.returncode == 2
    assert one_line(done.stderr).startswith("foobar: the switches do not do what the present policy says: ")
    assert "by fw1 table 2: priority=35000" in done.stderr
    assert verify(second)[0] == 0
    assert "second-site" not in second.commands("policy", "show", "--name", second.name).stdout


def test_a_bad_policy_changes_nothing(second: RunningTestbed, tmp_path: Path) -> None:
    file = tmp_path / "my.policy"
    file.write_text("allow tcp client -> srv22\nalow tcp client -> lb\n")
    done = second.commands("policy", "apply", str(file), "--name", second.name)
    assert done.returncode == 64
    assert [line.split(" ")[0] for line in done.stderr.splitlines()[1:]] == [f"{file}:1:21:", f"{file}:2:1:"]
    assert verify(second)[0] == 0


def test_a_policy_goes_on_the_switches_whole_when_the_controller_dies(commands: Any, tmp_path: Path) -> None:
    """Kill the controller at many moments of `policy apply`: every switch has the old flows or the new ones."""
    bed = commands.up("k", "--monitoring", "on")
    file = tmp_path / "my.policy"
    third_site = Rule("third-site", "client", "servers", "tcp", 9000, "allow", "each switch has something to do")
    policies = {"on": (SECOND_SITE, third_site, *RULES), "off": tuple(RULES)}
    switches = ("core", "fw1", "fw2", "fw3")

    def held() -> dict[str, str]:
        dumps = {
            name: bed.run("box", "ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", name) for name in switches
        }
        return {name: "\n".join(sorted(text.splitlines()[1:])) for name, text in dumps.items()}

    known = {}
    for name, rules in policies.items():
        apply(bed, file, *rules)
        known[name] = held()
    early = 0
    for turn, delay in enumerate((0.0, 0.001, 0.002, 0.004, 0.008, 0.016)):
        name, other = ("on", "off") if turn % 2 == 0 else ("off", "on")
        file.write_text(render(policies[name]))
        pid = bed.processes().running("controllers.firewall")
        given = Path(f"/proc/{pid}/root{FLOWS}")
        before = given.stat().st_ino
        with commands.popen("policy", "apply", str(file), "--name", "k") as applying:
            until = time.monotonic() + 10
            while given.stat().st_ino == before:  # until what it is told to do is there: it is about to do it
                assert time.monotonic() < until
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            seen = held()
            for switch in switches:
                assert seen[switch] in (known["on"][switch], known["off"][switch]), f"{switch} has a mixture"
            early += any(seen[switch] == known[other][switch] != known[name][switch] for switch in switches)
            assert bed.connects("client", "lb", 443), "both policies allow it"
            assert not bed.connects("attacker", "srv1", 80, seconds=0.3), "neither does"
            assert applying.wait(30) == 0, applying.communicate()[1]
        assert held() == known[name]
        assert verify(bed)[0] == 0
        wait.until(lambda: bed.service("box/controller")["state"] != "ready" or None, what="controller", seconds=10)
    assert early, "it never died before all switches had the new flows"
