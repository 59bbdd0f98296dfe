"""Overlays on real switches. A fence keeps all others from a host's database: at once, open connections included, and
with no controller too."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import PROJECT, RULES, RunningTestbed

from controllers.compile import OWN_COOKIES, compile_flows, overlay_flows
from controllers.flow import Flow, of_switch
from controllers.overlay import from_dict
from controllers.ovs.dump import parse
from controllers.policy import Rule
from controllers.policyfile import render
from topo import wait
from topo.plan import SITE
from topo.plan import plan as plan_of
from topo.profile import Profile

pytestmark = pytest.mark.root
DATABASE = "10.0.3.11"
MORE = Rule("more", "client", "lb", "tcp", 8080, "allow", "for the test")
FENCED = OWN_COOKIES["fence"]
ASK = """
import json, sys
from controllers import northbound
print(json.dumps(northbound.ask(sys.argv[1], **json.loads(sys.argv[2]))))
"""
# a connection to a database: "greeted", then for each line of input whether another byte of it arrives
TALK = """
import socket, sys
talk = socket.create_connection((sys.argv[1], 3306), 5)
talk.settimeout(0.5)
print("greeted" if talk.recv(500) else "silent", flush=True)
sys.stdin.readline()
talk.sendall(b"\\x01\\x00\\x00\\x01\\x0e")
try: print("answered" if talk.recv(500) else "closed", flush=True)
except TimeoutError: print("cut", flush=True)
except OSError as error: print(error, flush=True)
"""


def ask(bed: RunningTestbed, request: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """The controller, asked from the host that has its socket."""
    words = ["python3", "-c", ASK, request, json.dumps(arguments)]
    return bed.exec("mon", "env", f"PYTHONPATH={PROJECT}", *words)


def asked(bed: RunningTestbed, request: str, **arguments: Any) -> Any:
    done = ask(bed, request, **arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def standing(bed: RunningTestbed) -> list[str]:
    """The overlays in force, by name."""
    return [overlay["name"] for overlay in asked(bed, "overlays")["overlays"]]


@contextmanager
def talking(bed: RunningTestbed) -> Iterator[subprocess.Popen[str]]:
    """The balancer, connected to srv1's database."""
    argv = ("exec", "--name", bed.name, "lb", "--", "python3", "-c", TALK, DATABASE)
    with bed.commands.popen(*argv, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "greeted"
        yield process


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.fixture
def fenced(bed: RunningTestbed) -> Iterator[RunningTestbed]:
    """A testbed in which srv1's database is fenced."""
    answer = asked(bed, "fence", host="srv1")
    assert (answer["switches"], answer["overlays"]) == (["fw1"], ["fence srv1"])
    yield bed
    asked(bed, "lift", name="fence srv1")
    bed.becomes_steady(20)


def test_an_open_connection_is_answered_where_there_is_no_fence(bed: RunningTestbed) -> None:
    with talking(bed) as process:
        assert heard(process) not in ("cut", "")


def test_a_fence_cuts_open_and_new_connections_and_no_others(bed: RunningTestbed) -> None:
    with talking(bed) as process:
        before = bed.packets("fw1", FENCED)
        answer = asked(bed, "fence", host="srv1")
        try:
            assert 0 < answer["ms"] < 2000
            assert heard(process) == "cut"
            assert not bed.connects("lb", DATABASE, 3306)
            assert not bed.connects("srv2", DATABASE, 3306)
            assert bed.packets("fw1", FENCED) > before
            assert bed.connects("lb", DATABASE, 80)
            assert bed.connects("srv1", "lb", 3306)
            assert bed.run("client", "curl", "-sS", "--fail", "-o", "/dev/null", f"https://{SITE}/") == ""
        finally:
            assert asked(bed, "lift", name="fence srv1")["overlays"] == []
    assert bed.connects("lb", DATABASE, 3306)
    assert bed.packets("fw1", FENCED) == 0


def test_a_fence_outlives_the_controller(fenced: RunningTestbed) -> None:
    old = fenced.service("box/controller")["pid"]
    fenced.run("box", "kill", "-9", str(old))
    assert not fenced.connects("lb", DATABASE, 3306, seconds=0.5)

    def look() -> str | None:
        row = fenced.service("box/controller")
        return None if row["pid"] != old and row["state"] == "ready" else f"{row['pid']} {row['state']}"

    wait.until(look, what="another controller", seconds=15)
    wait.until(
        lambda: None if '"2"' in fenced.run("box", "cat", "/run/foobar/controller/installed.json") else "not yet",
        what="fw1 told anew",
        seconds=15,
    )
    assert standing(fenced) == ["fence srv1"]
    assert not fenced.connects("lb", DATABASE, 3306, seconds=0.5)
    assert fenced.connects("lb", DATABASE, 80)


def test_a_fence_in_force_is_shown(fenced: RunningTestbed) -> None:
    assert [row["name"] for row in fenced.status()["overlays"]] == ["fence srv1"]
    assert "overlay fence srv1: asked for" in fenced.commands("status", "--name", fenced.name).stdout


def test_only_the_monitoring_host_has_the_socket(bed: RunningTestbed) -> None:
    assert bed.exec("mon", "test", "-S", "/run/controller/northbound.sock").returncode == 0
    for host in ("srv1", "lb", "attacker"):
        assert bed.exec(host, "test", "-e", "/run/controller").returncode == 1


def test_what_cannot_be_fenced_is_refused_with_a_line(bed: RunningTestbed) -> None:
    done = ask(bed, "fence", host="lb")
    assert "lb: no host with a database; those are: srv1, srv2, srv3" in done.stderr
    assert standing(bed) == []


# --- beside the policy ---------------------------------------------------------------------------------------------


def verified(bed: RunningTestbed) -> dict[str, Any]:
    done = bed.commands("verify", "--name", bed.name, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def applied(bed: RunningTestbed, path: Path, *rules: Rule) -> None:
    path.write_text(render(rules))
    done = bed.commands("policy", "apply", str(path), "--name", bed.name)
    assert done.returncode == 0, done.stdout + done.stderr


def held(bed: RunningTestbed, switch: str) -> frozenset[Any]:
    """What a switch holds, cookies included, whatever the order of matches."""
    return alike(parse(switch, bed.run("box", "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", switch)))


def alike(flows: Iterable[Flow]) -> frozenset[Any]:
    return frozenset(
        (flow.switch, flow.table, flow.priority, flow.cookie, frozenset(flow.match), flow.actions) for flow in flows
    )


def test_with_a_fence_in_force_verify_holds_and_a_policy_is_applied_below_it(
    second: RunningTestbed, tmp_path: Path
) -> None:
    asked(second, "fence", host="srv1", reason="for the test")
    try:
        assert [row["name"] for row in verified(second)["overlays"]] == ["fence srv1"]
        said = second.commands("verify", "--name", second.name).stdout
        assert "note: overlay fence srv1: for the test" in said
        applied(second, tmp_path / "more.policy", MORE, *RULES)
        assert not second.connects("lb", DATABASE, 3306, seconds=0.5)
        assert [row["name"] for row in verified(second)["overlays"]] == ["fence srv1"]
        applied(second, tmp_path / "less.policy", *RULES)
        assert not second.connects("lb", DATABASE, 3306, seconds=0.5)
        assert second.connects("lb", DATABASE, 80)
    finally:
        asked(second, "lift", name="fence srv1")
    assert second.connects("lb", DATABASE, 3306)
    assert verified(second)["overlays"] == []


def test_a_block_ends_by_itself_and_not_before_though_the_controller_dies(second: RunningTestbed) -> None:
    until = asked(second, "block", host="attacker", reason="port scan", lasting=8)["until"]
    assert not second.connects("attacker", "10.0.2.10", 443, seconds=0.5)
    assert second.connects("client", "10.0.2.10", 443)
    second.run("box", "kill", "-9", str(second.service("box/controller")["pid"]))
    while time.time() < until - 1:
        assert not second.connects("attacker", "10.0.2.10", 443, seconds=0.3)
    wait.until(
        lambda: None if second.connects("attacker", "10.0.2.10", 443, seconds=0.5) else "blocked",
        what="the end of the block",
        seconds=15,
    )
    assert time.time() >= until
    wait.until(lambda: ", ".join(standing(second)) or None, what="no overlay", seconds=5)
    assert verified(second)["overlays"] == []


STORM = """
import json, random, sys, threading, time
from controllers import northbound
from topo.errors import FoobarError
hosts, done, failed = ("srv1", "srv2", "srv3"), [], []
def ask(seed):
    chance = random.Random(seed)
    for _ in range(int(sys.argv[2])):
        time.sleep(chance.random() * 0.3)
        host = chance.choice(hosts)
        try:
            if chance.random() < 0.5: northbound.ask("fence", host=host)
            else: northbound.ask("lift", name=f"fence {host}")
            done.append(host)
        except FoobarError as error: failed.append(str(error))
threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(int(sys.argv[1]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps({"done": len(done), "failed": failed}))
"""


def test_two_hundred_changes_at_once_end_in_the_desired_state(second: RunningTestbed, tmp_path: Path) -> None:
    """Fences, unfences and applies, side by side: what the switches hold then is what is desired, flow by flow."""
    policies = [(MORE, *RULES), tuple(RULES)]
    with ThreadPoolExecutor(1) as pool:
        words = ["env", f"PYTHONPATH={PROJECT}", "python3", "-c", STORM, "10", "19"]
        storm = pool.submit(second.exec, "mon", *words)
        for turn in range(10):
            applied(second, tmp_path / f"{turn}.policy", *policies[turn % 2])
        answer = storm.result(120)
    assert json.loads(answer.stdout) == {"done": 190, "failed": []}, answer.stderr
    testbed = plan_of(Profile())
    overlays = [from_dict(row) for row in asked(second, "overlays")["overlays"]]
    desired = [*compile_flows(testbed, tuple(RULES)), *(f for each in overlays for f in overlay_flows(testbed, each))]
    try:
        for switch in testbed.switches:
            assert held(second, switch.name) == alike(of_switch(desired, switch.name))
        assert [from_dict(row) for row in verified(second)["overlays"]] == overlays
    finally:
        for overlay in overlays:
            asked(second, "lift", name=overlay.name)
    assert held(second, "fw1") == alike(of_switch(compile_flows(testbed, tuple(RULES)), "fw1"))
