"""The main job on a real testbed: the journey of one visit, its folder, and its judge as somebody else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runningtestbed import PROJECT, Commands, Done, Machine

pytestmark = pytest.mark.root

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Done, Path]]:
    """The command without a terminal, as the first thing anybody runs; and the folder it made."""
    home = tmp_path_factory.mktemp("journey")
    commands = Commands(home)
    machine = Machine(home)
    done = commands("--runs", str(home / "runs"))
    machine.assert_clean()
    (folder,) = (home / "runs" / "journey").iterdir()
    yield done, folder
    commands("down", "--all")


def test_all_13_steps_are_seen(journey: tuple[Done, Path]) -> None:
    done, _ = journey
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f"{number:2} ✓" in done.stdout for number in range(1, 14)] == [True] * 13
    assert "verdict: holds" in done.stdout


def test_the_boot_is_shown_as_a_waterfall(journey: tuple[Done, Path]) -> None:
    done, _ = journey
    assert all(part in done.stdout for part in ("srv1/db", "lb/balancer", "dns/resolver", "steady", "10.0.3.11"))


def test_the_result_is_as_in_the_contract(journey: tuple[Done, Path]) -> None:
    result = json.loads((journey[1] / "result.json").read_text())
    assert (result["experiment"], result["status"]) == ("journey", "completed")
    assert result["steady"] == {"before": True, "after": True}
    assert result["verdict"]["holds"] is True
    assert result["profile"]["tls"] == "terminate"
    assert set(result["provenance"]["versions"]) >= {
        "haproxy",
        "nginx",
        "mariadb",
        "nsd",
        "openvswitch",
        "ryu",
        "mininet",
    }


def test_every_host_link_was_captured_without_loss(journey: tuple[Done, Path]) -> None:
    evidence = json.loads((journey[1] / "evidence.json").read_text())
    captured = {capture["link"]: capture["dropped"] for capture in evidence["captures"]}
    assert set(captured) >= set(evidence["hosts"])
    assert set(captured.values()) == {0}
    assert all((journey[1] / capture["file"]).stat().st_size > 24 for capture in evidence["captures"])


def test_proofs_are_where_the_evidence_says(journey: tuple[Done, Path]) -> None:
    """The request id of the followed page stands in the log lines of all three tiers that the proofs name."""
    evidence = json.loads((journey[1] / "evidence.json").read_text())
    request_id = evidence["visit"]["requests"][-1]["request_id"]
    rows = [row for row in evidence["logs"] if row["data"].get("request_id") == request_id]
    assert {row["service"] for row in rows} >= {"haproxy", "nginx"}
    for row in rows:
        assert request_id in (journey[1] / row["file"]).read_text().splitlines()[row["line"] - 1]


def test_an_ordinary_user_gets_the_same_verdict(journey: tuple[Done, Path]) -> None:
    for parent in journey[1].parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o005)
    words = [*NOBODY, sys.executable, "-m", "experiments", "judge", str(journey[1]), "--json"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)
    if "Permission denied" in done.stderr or "No module named" in done.stderr:
        pytest.skip(f"an ordinary user cannot reach {PROJECT} or its Python here")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((journey[1] / "result.json").read_text())["verdict"]


def test_without_firewalls_no_rule_stood_in_the_way(tmp_path: Path) -> None:
    """A negative control: the same visit on the baseline, where no firewall lets anything through by a rule."""
    commands = Commands(tmp_path)
    done = commands("--runs", str(tmp_path / "runs"), "--firewall", "off")
    assert done.returncode == 1, done.stdout + done.stderr
    assert " 7 ✗" in done.stdout
    assert "verdict: fails" in done.stdout
