"""Detection on a real testbed: attackers are cut off within the promised time, and nobody honest ever is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from runningtestbed import PROJECT, Commands, RunningTestbed

from topo import wait
from topo.plan import plan as plan_of
from topo.profile import Profile

pytestmark = pytest.mark.root
PLAN = plan_of(Profile())
LB, SRV1, DNS = (PLAN.host(name).ip for name in ("lb", "srv1", "dns"))
#: frames from the attacker's interface: under which addresses, to which ports of which host, how many
FRAMES = """
import json, random, sys
from scapy.all import Ether, IP, TCP, conf
mac, src, dst_mac, dst, ports, times = json.loads(sys.argv[1])
link = conf.L2socket(iface="attacker-eth0")
ip = Ether(src=mac, dst=dst_mac) / IP(src=src, dst=dst)
frames = [bytes(ip / TCP(dport=port, flags="S")) for port in range(1, ports + 1)]
for _ in range(times):
    for frame in frames:
        link.send(frame)
"""
#: log-ins with a wrong password, each for the account that is named; the times of the answers
GUESSES = """
import json, re, ssl, sys, time
from http.client import HTTPSConnection
from urllib.parse import urlencode
context = ssl._create_unverified_context()
for name in sys.argv[1:]:
    link = HTTPSConnection("www.foobar.com", timeout=5, context=context)
    link.request("GET", "/login")
    answer = link.getresponse()
    cookie, page = answer.headers["Set-Cookie"].split(";")[0], answer.read().decode()
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)[1]
    form = urlencode({"csrf_token": token, "name": name, "password": "wrong-guess"})
    link.request("POST", "/login", form, {"Cookie": cookie, "Referer": "https://www.foobar.com/login",
                                          "Content-Type": "application/x-www-form-urlencoded"})
    print(json.dumps([link.getresponse().status, time.time()]), flush=True)
"""


@pytest.fixture(scope="module")
def detecting(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("detecting", "--monitoring", "on", "--ids", "on")
    shared_commands("down", "detecting", seconds=120)


@pytest.fixture
def bed(detecting: RunningTestbed) -> Iterator[RunningTestbed]:
    """Nobody is blocked before the test, nor after it."""
    detecting.commands("unblock", "--name", detecting.name, "attacker")
    time_passes()
    yield detecting
    assert blocked(detecting) <= {"attacker"}


def time_passes() -> None:
    """What was counted before a verdict is no evidence a second later (floods.py)."""
    began = time.monotonic()
    wait.until(lambda: None if time.monotonic() - began > 2.5 else "not yet", what="two looks", seconds=5)


def events(bed: RunningTestbed) -> list[dict[str, Any]]:
    done = bed.commands("events", "--name", bed.name, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row for row in rows if row["event"] == "detection"]


def blocked(bed: RunningTestbed) -> set[str]:
    done = bed.commands("blocks", "--name", bed.name, "--json")
    return {row["host"] for row in json.loads(done.stdout)}


def detected(bed: RunningTestbed, kind: str, since: float, seconds: float = 15) -> dict[str, Any]:
    """The event of that kind; the attacker is blocked, and the client is not."""
    found: list[dict[str, Any]] = []

    def missing() -> str | None:
        found[:] = [row for row in events(bed) if row["kind"] == kind and row["time"] > since and row["block"]]
        return None if found else f"{len(events(bed))} events, no {kind}"

    wait.until(missing, what=f"detection of {kind}", seconds=seconds)
    assert {row["source"] for row in found} == {"attacker"}
    assert blocked(bed) == {"attacker"}
    assert served(bed, "client") == "200"
    return found[0]


def served(bed: RunningTestbed, host: str) -> str:
    """The status that a host is answered."""
    words = ("curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", "https://www.foobar.com/")
    return bed.exec(host, *words).stdout


def test_a_scan_is_cut_off_after_the_fourth_target_and_unblock_restores(bed: RunningTestbed) -> None:
    began = time.time()
    probe = ("nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", "--host-timeout", "4s", SRV1)
    bed.exec("attacker", *probe)
    told = detected(bed, "scan", began)
    assert len(told["evidence"]) == 4
    assert told["time"] - told["seen"] < 0.5
    samples = [json.loads(line) for line in bed.run("mon", "cat", "/run/controller/denied.jsonl").splitlines()]
    later = [row for row in samples if row["src"] == "attacker" and row["time"] > told["time"]]
    assert {row["rule"] for row in later} == {"block"}, "it goes on no further"
    assert served(bed, "attacker") == "000"
    assert bed.commands("unblock", "--name", bed.name, "attacker").returncode == 0
    assert served(bed, "attacker") == "200"


def frames(bed: RunningTestbed, mac: str, src: str, ports: int, times: int) -> None:
    asked = json.dumps([mac, src, PLAN.host("srv1").mac, SRV1, ports, times])
    done = bed.exec("attacker", "env", f"PYTHONPATH={PROJECT}", sys.executable, "-c", FRAMES, asked)
    assert done.returncode == 0, done.stderr


def test_ten_thousand_packets_forged_as_the_client_block_who_sent_them(bed: RunningTestbed) -> None:
    """Also under the client's MAC address: the port tells."""
    client = PLAN.host("client")
    for mac in (PLAN.host("attacker").mac, client.mac):
        began = time.time()
        frames(bed, mac, client.ip, 1000, 5)
        told = detected(bed, "spoofing", began)
        assert set(told["evidence"]) == {"tcp under the address of client"}
        bed.commands("unblock", "--name", bed.name, "attacker")
        time_passes()
    assert not [row for row in events(bed) if row["source"] == "client"]


@pytest.mark.parametrize("names", [["victim"] * 12, [f"user{number}" for number in range(12)]])
def test_guesses_are_cut_off(bed: RunningTestbed, names: list[str]) -> None:
    began = time.time()
    done = bed.exec("attacker", "python3", "-c", GUESSES, *names)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    told = detected(bed, "brute-force" if len(set(names)) == 1 else "spraying", began)
    assert {status for status, _ in answers} == {401}
    assert len(answers) < len(names)
    assert told["time"] - told["seen"] < 3, "the shipper looks once a second"
    assert "victim" not in json.dumps(told), "no name is told"


@pytest.mark.parametrize(
    "words", [f"-S -p 443 {LB}", f"--udp -p 53 {DNS}", f"--icmp {LB}", f"-S -p 22 {SRV1}"], ids=lambda words: words[:9]
)
def test_a_flood_is_cut_off(bed: RunningTestbed, words: str) -> None:
    began = time.time()
    bed.exec("attacker", "timeout", "2", "hping3", "-q", "-i", "u200", *words.split())
    detected(bed, "flood", began)
