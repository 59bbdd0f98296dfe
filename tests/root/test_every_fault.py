"""Every kind of fault: it really fails while in force, and all is as before afterwards; and the same by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from inject_every_fault import CHECKS, PAIRS
from runningtestbed import PROJECT, Commands, Machine, RunningTestbed, one_line

from testbed.faults.registry import KINDS
from topo import wait

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What inject_every_fault.py saw, in a testbed of its own."""
    folder = tmp_path_factory.mktemp("faults")
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tests" / "root" / "inject_every_fault.py"), str(folder / "told.json")],
        cwd=PROJECT,
        env={**os.environ, "FOOBAR_STATE": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    value: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return value


def test_every_kind_is_tried() -> None:
    needs_manager = {name for name, kind in KINDS.items() if kind.words.startswith("PRIMARY")}
    assert {words.split()[0] for words in CHECKS} == set(KINDS) - needs_manager


@pytest.mark.parametrize("words", CHECKS)
def test_it_fails_while_in_force_and_only_then(told: dict[str, Any], words: str) -> None:
    seen = told["faults"][words]
    assert (seen["failed"], seen["fails_anyway"]) == (None, False)
    assert seen["after"] is None, "all is as before, though an exception ended the block"


@pytest.mark.parametrize("words", [", ".join(pair) for pair in PAIRS])
def test_of_two_the_one_that_is_healed_first_leaves_the_other_in_force(told: dict[str, Any], words: str) -> None:
    assert told["pairs"][words] == {"failed": None, "after": None}


def test_what_needs_a_controller_is_refused_without_one(told: dict[str, Any]) -> None:
    said = told["without controller"]
    assert said == "black-hole lb srv1: the controller is away on purpose; heal that first; None"


def test_who_loses_power_or_its_link_says_no_good_bye(told: dict[str, Any]) -> None:
    heard = told["good_byes"]
    assert heard.pop("kill srv1 web"), "an ordinary crash is heard: the look can see"
    assert heard == {"off srv1": [], "cut srv1": [], "off fw1": []}


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_by_hand_it_stays_until_it_is_healed(second: RunningTestbed) -> None:
    name = ("--name", second.name)
    said = one_line(second.commands("fault", *name, "kill", "srv2", "nginx").stdout)
    assert "kill srv2 web" in said
    number = said.split()[1].rstrip(":")
    assert second.service("srv2/web")["state"] == "killed"
    assert "kill srv2 web" in second.commands("status", *name).stdout
    assert one_line(second.commands("fault", *name, "list").stdout) == said
    second.commands("fault", *name, "freeze", "srv3", "app")
    assert [row["fault"] for row in second.status()["faults"]] == ["kill srv2 web", "freeze srv3 app"]
    assert one_line(second.commands("heal", *name, number).stdout) == "healed: kill srv2 web"
    assert (second.service("srv2/web")["state"], second.service("srv3/app")["state"]) == ("ready", "paused")
    assert one_line(second.commands("heal", *name).stdout) == "healed: freeze srv3 app"
    assert second.status()["faults"] == []


def test_what_lost_power_does_not_keep_its_connections_to_the_database(second: RunningTestbed) -> None:
    """It says no good-bye: the balancer asks whether it is there. (The database waits 10 s for who does not log in.)"""

    def held() -> int:
        return len(second.run("lb", "ss", "-Htn", "dst", "10.0.3.13", "sport", "=", ":3306").splitlines())

    hold = "import socket, time; s = socket.create_connection(('10.0.2.10', 3306)); s.recv(1); time.sleep(60)"
    with second.commands.popen("exec", "--name", second.name, "srv3", "--", "python3", "-c", hold):
        wait.until(lambda: None if held() else "none", what="a connection", seconds=10)
        number = second.fault("off srv3")
        assert held()
        wait.until(lambda: f"{held()} left" if held() else None, what="its connections to end", seconds=11)
    assert second.commands("heal", "--name", second.name, number).returncode == 0


def test_a_replica_follows_again_though_a_firewall_forgot_its_connection(second: RunningTestbed) -> None:
    """What the primary has begun to send it cannot end, and nobody tells it so: it must give up by itself."""

    def primary(statement: str) -> None:
        second.run("srv1", "mariadb", "-e", statement)

    def rows() -> str | None:
        seen = second.run("srv3", "mariadb", "-N", "-e", "SELECT COUNT(*) FROM lab.big").strip()
        return None if seen == "61" else f"{seen} rows of 61"

    primary("CREATE DATABASE lab; CREATE TABLE lab.big (what LONGTEXT)")
    try:
        for words, count in (("off fw3", 60), ("off srv3", 1)):
            number = second.fault(words)
            primary("INSERT INTO lab.big VALUES (REPEAT('x', 200000));" * count)
            assert second.commands("heal", "--name", second.name, number).returncode == 0
        wait.until(rows, what="replication", seconds=15)
    finally:
        primary("DROP DATABASE lab")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("fault kil srv1 nginx", 64, "foobar: kil: no such fault; faults: kill, stop, freeze, error500, cut, "),
        ("heal 99", 2, "foobar: no fault 99 was injected by hand; there are: none"),
        ("heal everything", 64, "foobar: heal everything: a fault's number, or all"),
    ],
)
def test_what_cannot_be_is_one_line(second: RunningTestbed, words: str, code: int, line: str) -> None:
    command, *rest = words.split()
    done = second.commands(command, "--name", second.name, *rest)
    assert (done.returncode, done.stdout) == (code, "")
    assert one_line(done.stderr).startswith(line)


def test_a_testbed_that_is_broken_in_every_way_ends_and_leaves_nothing(commands: Commands, machine: Machine) -> None:
    bed = commands.up("c")
    processes = bed.processes()
    for words in ("freeze srv1 db", "off srv2", "off fw3", "cut core fw1", "blackhole lb srv1", "stop-controller"):
        assert bed.commands("fault", "--name", bed.name, *words.split()).returncode == 0, words
    assert bed.commands("down", bed.name).returncode == 0
    machine.assert_clean(processes)
