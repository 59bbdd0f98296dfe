"""``tls_exposure`` on real testbeds: what is readable in the write-ups' design, and nothing with mutual TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import PROJECT, Commands, Done, Machine

from topo import wait

pytestmark = pytest.mark.root


def argv(runs: Path, *flags: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "experiments.tls_exposure",
        "--runs",
        str(runs),
        "--name",
        "exposure",
        *flags,
    ]


def run(home: Path, *flags: str) -> tuple[Done, dict[str, Any]]:
    """The experiment as a script of its own; what it said, and its result."""
    commands = Commands(home)
    done = subprocess.run(
        argv(home / "runs", *flags), cwd=PROJECT, env=commands.environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    (folder,) = (home / "runs" / "tls_exposure").iterdir()
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return done, {**result, "evidence": json.loads((folder / "evidence.json").read_text())}


def test_on_seed_secrets_are_readable_behind_the_balancer_and_none_before_it(tmp_path: Path) -> None:
    done, result = run(tmp_path, "--profile", "seed")
    assert done.returncode == 1, done.stdout + done.stderr
    assert result["verdict"]["holds"] is False
    assert "log-in password readable on lb-srv" in result["verdict"]["because"]
    links = {row["link"] for row in result["evidence"]["exposures"]}
    assert {link for link in links if link.endswith(":80")} >= {"lb-srv1:80", "lb-srv2:80", "lb-srv3:80"}
    assert {"lb-srv1:3306", "srv2-srv1:3306", "srv3-srv1:3306"} <= links
    assert "client-lb:443" not in links
    assert {"client-lb:443"} == {row["link"] for row in result["evidence"]["inside"]}
    assert result["verdict"]["numbers"]["links_blind"] == 0


def test_with_mutual_tls_none_is_and_each_link_has_its_control(tmp_path: Path) -> None:
    done, result = run(tmp_path, "--profile", "hardened", "--repeat", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = result["verdict"]["numbers"]
    assert (numbers["exposures"], numbers["links_blind"], numbers["visits"]) == (0, 0, 2)
    assert numbers["links_encrypted"] >= 9


def test_an_interrupted_run_ends_its_captures_and_says_aborted(tmp_path: Path) -> None:
    commands, machine = Commands(tmp_path), Machine(tmp_path)
    with subprocess.Popen(
        argv(tmp_path / "runs"), cwd=PROJECT, env=commands.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip

        def capturing() -> str | None:
            found = list((tmp_path / "runs").glob("tls_exposure/*/lb.pcap"))
            return None if found and found[0].stat().st_size > 30000 else "nothing captured yet"

        wait.until(capturing, what="a capture under way", seconds=60)
        os.kill(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    (folder,) = (tmp_path / "runs" / "tls_exposure").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["verdict"]["holds"]) == ("aborted", None)
    machine.assert_clean()
