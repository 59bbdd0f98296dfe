"""``firewall_matrix`` on real testbeds: as designed, without firewalls, with a leak, without a controller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import PROJECT, Commands, Experiments, RunningTestbed

pytestmark = pytest.mark.root

SECONDS = 400
FEW = ("--ports", "1-1024,3306,8404")
LEAK = "table=2,priority=35000,cookie=0x77,tcp,nw_src=10.0.1.66,nw_dst=10.0.3.11,tp_dst=22 actions=goto_table:3"


class Ran:
    """A run's end: its exit code, its evidence and its verdict."""

    def __init__(self, code: int, runs: Path, said: str) -> None:
        self.code = code
        (folder,) = (runs / "firewall_matrix").iterdir()
        self.folder = folder
        self.verdict = self._read("result.json")["verdict"]
        self.evidence = self._read("evidence.json")
        self.said = said

    def _read(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / name).read_text())
        return value

    def open(self, src: str, dst: str) -> dict[str, Any]:
        pair = next(each for each in self.evidence["pairs"] if (each["src"], each["dst"]) == (src, dst))
        return {kind: values for kind, values in pair["wire"]["arrived"].items() if values}


def ran(tmp_path: Path, *flags: str) -> Ran:
    commands = Experiments(tmp_path)
    done = commands("run", "firewall_matrix", "--runs", str(tmp_path / "runs"), *flags, seconds=SECONDS)
    return Ran(done.returncode, tmp_path / "runs", done.stdout + done.stderr)


@contextmanager
def running(tmp_path: Path, *flags: str) -> Iterator[tuple[RunningTestbed, subprocess.Popen[str], list[str]]]:
    """A run whose first sweep has begun, its testbed, and what it has said so far."""
    commands = Experiments(tmp_path)
    with commands.popen("run", "firewall_matrix", "--runs", str(tmp_path / "runs"), *flags) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "probes" in line:
                break
        (entry,) = tmp_path.glob("*.json")
        yield RunningTestbed(Commands(tmp_path), entry.stem), process, said


def ended(process: subprocess.Popen[str], tmp_path: Path, said: list[str]) -> Ran:
    out, err = process.communicate(timeout=SECONDS)
    return Ran(process.returncode, tmp_path / "runs", "".join(said) + out + err)


def test_some_pairs_are_as_the_policy_says(tmp_path: Path) -> None:
    done = ran(tmp_path, "--pairs", "attacker:srv1,lb:srv1,client:lb,srv2:srv1", *FEW)
    assert done.code == 2, done.said  # few pairs prove nothing about every pair
    assert done.verdict["because"].endswith("only 4 of 56 pairs were looked at")
    assert done.verdict["numbers"]["mismatches"] == done.verdict["numbers"]["pairs_inexact"] == 0
    assert done.open("attacker", "srv1") == {}
    assert done.open("lb", "srv1") == {"tcp": [[80, 80], [3306, 3306]]}
    assert done.open("client", "lb") == {"tcp": [[80, 80], [443, 443]], "icmp": [[8, 8]]}
    assert [each["src"] for each in done.evidence["controls"]] == ["attacker"]


def test_without_firewalls_the_leaks_are_named(tmp_path: Path) -> None:
    done = ran(tmp_path, "--pairs", "attacker:srv2,srv1:attacker", *FEW, "--firewall", "off")
    assert done.code == 1, done.said
    assert "attacker -> srv2 tcp/" in done.verdict["because"]
    assert "arrives, the policy denies it (deny-rest); by fw2 table 2" in " ".join(done.said.split())
    assert done.verdict["numbers"]["leaks"] == 2


def test_a_leak_made_by_hand_is_seen_by_proof_and_packets(tmp_path: Path) -> None:
    with running(tmp_path, "--pairs", "any:srv2,attacker:srv1") as (bed, process, said):
        bed.run("box", "ovs-ofctl", "-O", "OpenFlow13", "add-flow", "fw1", LEAK)
        done = ended(process, tmp_path, said)
    assert done.code == 2, done.said
    assert done.open("attacker", "srv1") == {"tcp": [[22, 22]]}
    expected = "attacker -> srv1 tcp/22: arrives, the policy denies it (deny-rest)"
    assert done.verdict["because"].startswith("disturbed while it was measured: flows of fw1: "), done.verdict
    assert f"what was seen: {expected}" in done.verdict["because"], done.verdict
    assert f"{expected}; by fw1 table 2: priority=35000" in " ".join(done.said.split())
    assert done.verdict["numbers"]["mismatches"] == 1


def test_a_dead_controller_misjudges_no_packet(tmp_path: Path) -> None:
    with running(tmp_path, "--pairs", "any:srv1,client:lb") as (bed, process, said):
        pid = next(pid for pid in bed.processes().alive if b"controllers.firewall" in command_line(pid))
        os.kill(pid, signal.SIGKILL)
        done = ended(process, tmp_path, said)
    assert done.code == 2, done.said
    assert done.verdict["because"].endswith("only 8 of 56 pairs were looked at"), done.verdict
    assert done.verdict["numbers"]["mismatches"] == done.verdict["numbers"]["pairs_inexact"] == 0
    assert done.verdict["numbers"]["probes"] == 8 * 131_584


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# each is asked with eight pairs and the values that rules tell apart: 27,000 probes in all
POLICIES = 6


def test_random_policies_are_what_the_packets_meet(tmp_path: Path) -> None:
    """Policy, proof over dumped flows, and packets agree about some policies on Open vSwitch itself."""
    program = Path(__file__).parent / "random_policies.py"
    done = subprocess.run(
        [sys.executable, str(program), "20240229", str(POLICIES)],
        cwd=PROJECT,
        env={**os.environ, "FOOBAR_STATE": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(rows)) == (0, POLICIES * 8), done.stderr
    for row in rows:
        assert row["policy"] == row["proof"] == row["wire"], row
        assert row["lost"] <= 0, row  # what the daemons send is denied too, and counted
    assert len({row["wire"] for row in rows}) > 2, "policies differ"
