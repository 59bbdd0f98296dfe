"""Denied packets on real switches: who was denied what is told, and no flood or scan makes anybody tell more."""

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
from runningtestbed import PROJECT, RULES, RunningTestbed

from controllers.compile import compile_flows
from controllers.policy import Rule
from controllers.policyfile import render
from controllers.sampling import BURST, RATE, most
from topo import wait
from topo.plan import SITE, plan
from topo.profile import Profile

pytestmark = pytest.mark.root
SRV1, ATTACKER = "10.0.3.11", "10.0.1.66"
FLOWS = compile_flows(plan(Profile()), RULES)
ASK = "import json; from controllers import northbound; print(json.dumps(northbound.ask('samples')))"
# packets are still in the meters' hands, and samples on their way, when a command has ended
LATE = 0.5
#: of one processor, beside what it takes when nothing is denied
BUSY = 0.15


def events(bed: RunningTestbed) -> list[dict[str, Any]]:
    done = bed.commands("denied", "--name", bed.name, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(bed: RunningTestbed, since: float, **wanted: object) -> dict[str, Any]:
    """The first event since then that says this; waited for."""
    found: list[dict[str, Any]] = []

    def look() -> str | None:
        here = [each for each in events(bed) if each["time"] >= since]
        found[:] = [each for each in here if wanted.items() <= each.items()]
        return None if found else f"{wanted} not in {here[-5:]}"

    wait.until(look, what="the event", seconds=5)
    return found[0]


def samples(bed: RunningTestbed) -> dict[str, Any]:
    """What the controller has been sent, and the time that it has used."""
    text = bed.run("mon", "env", f"PYTHONPATH={PROJECT}", "python3", "-c", ASK)
    found: dict[str, Any] = json.loads(text)
    return found


class SampleCount:
    """What the controller was sent and used during a block: ``packet_ins`` by switch, ``cpu_s``, ``seconds``."""

    packet_ins: dict[str, int]
    cpu_s: float
    seconds: float


@contextmanager
def watched(bed: RunningTestbed) -> Iterator[SampleCount]:
    watch, before, began = SampleCount(), samples(bed), time.monotonic()
    yield watch
    time.sleep(LATE)
    after = samples(bed)
    watch.seconds = time.monotonic() - began
    watch.cpu_s = after["cpu_s"] - before["cpu_s"]
    watch.packet_ins = {name: n - before["packet_ins"].get(name, 0) for name, n in after["packet_ins"].items()}


@contextmanager
def flood(bed: RunningTestbed) -> Iterator[None]:
    """As many SYNs to srv1's database as the attacker can make."""
    before = bed.counter("fw1", "deny-rest")
    command = ("timeout", "60", "hping3", "--flood", "-q", "-S", "-p", "3306", SRV1)
    with bed.commands.popen("exec", "--name", bed.name, "attacker", "--", *command):
        try:
            wait.until(
                lambda: None if bed.counter("fw1", "deny-rest") > before else "no flood", what="flood", seconds=10
            )
            yield
        finally:
            bed.exec("attacker", "pkill", "hping3")


def syns(bed: RunningTestbed, count: int) -> tuple[str, ...]:
    """The command that sends exactly so many, one a millisecond."""
    return ("hping3", "-q", "-S", "-p", "3306", "-i", "u1000", "-c", str(count), SRV1)


@pytest.mark.parametrize(
    ("src", "dst", "address", "port", "switch"),
    [
        ("attacker", "srv1", SRV1, 3306, "fw1"),
        ("srv1", "attacker", ATTACKER, 4444, "fw1"),  # a reverse shell
        ("client", "lb", "10.0.2.10", 22, "core"),
    ],
)
def test_a_denied_connection_is_told_with_rule_and_hosts(
    bed: RunningTestbed, src: str, dst: str, address: str, port: int, switch: str
) -> None:
    began = time.time()
    assert not bed.connects(src, address, port)
    assert told(bed, began, src=src, dst=dst, port=port, proto="tcp")["rule"] == "deny-rest"
    assert told(bed, began, src=src, dst=dst, port=port)["switch"] == switch
    assert bed.connects("client", SITE, 443)
    assert not [each for each in events(bed) if each["time"] >= began and each["port"] == 443], "what is allowed is not"


def test_a_stealth_scan_and_a_strange_address_are_told(bed: RunningTestbed) -> None:
    began = time.time()
    bed.exec("attacker", "nmap", "-Pn", "-sX", "-p", "80", "--max-retries", "0", "srv1")
    assert told(bed, began, src="attacker", dst="srv1", port=80)["rule"] in ("invalid", "deny-rest")
    bed.exec("attacker", "ping", "-c1", "-W1", "10.0.9.9")
    assert told(bed, began, src="attacker", dst="10.0.9.9", proto="arp")["rule"] == "arp-unknown"


def test_every_denied_packet_is_counted_sampled_or_not(bed: RunningTestbed) -> None:
    before = bed.counter("fw1", "deny-rest")
    with watched(bed) as watch:
        bed.exec("attacker", *syns(bed, 500))
    assert bed.counter("fw1", "deny-rest") - before == 500
    assert 0 < watch.packet_ins["fw1"] <= BURST + RATE * watch.seconds


def test_a_flood_loads_nobody(second: RunningTestbed) -> None:
    """The controller gets what one meter lets pass; others' denied packets are told; what is allowed goes on."""
    with watched(second) as idle:
        time.sleep(2)
    before = second.counter("fw1", "deny-rest")
    with watched(second) as watch, flood(second):
        began = time.time()
        while time.time() < began + 3:
            assert second.connects("client", SITE, 443, seconds=5)
            assert second.connects("lb", "srv1", 80, seconds=5)
        assert not second.connects("srv1", ATTACKER, 4444, seconds=0.5)
        told(second, began, src="srv1", dst="attacker", port=4444)
    counted = second.counter("fw1", "deny-rest") - before
    assert counted > 20 * (BURST + RATE * watch.seconds), "the control: it was a flood"
    assert 0 < watch.packet_ins["fw1"] <= 2 * (BURST + RATE * watch.seconds)  # of two ports
    assert sum(watch.packet_ins.values()) <= most(FLOWS, watch.seconds)
    assert watch.cpu_s / watch.seconds < idle.cpu_s / idle.seconds + BUSY


def test_a_full_scan_causes_no_more_than_the_samples(second: RunningTestbed) -> None:
    before = second.counter("fw1", "deny-rest")
    with watched(second) as watch:
        second.run("attacker", "nmap", "-Pn", "-n", "-sS", "-p-", "--max-retries", "0", "--min-rate", "8000", SRV1)
    counted = second.counter("fw1", "deny-rest") - before
    assert counted > 65_535 / 2, "the control: on a busy machine some of a scan's packets do not even reach a switch"
    assert 0 < watch.packet_ins["fw1"] <= BURST + RATE * watch.seconds
    assert sum(watch.packet_ins.values()) <= most(FLOWS, watch.seconds)


def test_a_dead_controller_changes_no_verdict_and_the_samples_come_back(second: RunningTestbed) -> None:
    before = second.counter("fw1", "deny-rest")
    scan = ("exec", "--name", second.name, "attacker", "--", *syns(second, 4000))
    with second.commands.popen(*scan) as scanning:
        wait.until(
            lambda: None if second.counter("fw1", "deny-rest") > before + 500 else "not yet", what="scan", seconds=10
        )
        os.kill(second.processes().running("controllers.firewall"), signal.SIGKILL)
        assert scanning.wait(60) in (0, 1)
    assert second.counter("fw1", "deny-rest") - before == 4000
    second.becomes_steady(20)
    began = time.time()
    assert not second.connects("attacker", SRV1, 3306)
    told(second, began, src="attacker", dst="srv1", port=3306, rule="deny-rest")


def test_another_policys_rule_is_told_by_its_name(second: RunningTestbed, tmp_path: Path) -> None:
    file = tmp_path / "my.policy"
    try:
        shut = Rule("shut", "client", "lb", "tcp", 80, "deny", "no longer")
        file.write_text(render((shut, *RULES)))
        assert second.commands("policy", "apply", str(file), "--name", second.name).returncode == 0
        began = time.time()
        assert not second.connects("client", "10.0.2.10", 80)
        assert told(second, began, src="client", dst="lb", port=80)["rule"] == "shut"
        assert not second.connects("client", "10.0.2.10", 22)
        assert told(second, began, src="client", dst="lb", port=22)["rule"] == "deny-rest"
    finally:
        file.write_text(render(RULES))
        done: subprocess.CompletedProcess[str] = second.commands("policy", "apply", str(file), "--name", second.name)
        assert done.returncode == 0, done.stderr


def test_the_switches_say_that_they_can(bed: RunningTestbed) -> None:
    if bed.status()["datapath"] == "user":
        assert bed.status()["unsampled"] == []
