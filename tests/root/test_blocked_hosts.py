"""Blocks on a real testbed: by hand and by a detector, beside the policy, and through the controller's death."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import PROJECT, RULES, Commands, Done, RunningTestbed

from controllers.policy import Rule
from controllers.policyfile import render
from topo import wait

pytestmark = pytest.mark.root
SITE_ADDRESS, SITE_PORT = "10.0.2.10", 443
MORE = Rule("more", "client", "lb", "tcp", 8080, "allow", "for the test")
#: a detector's request
ASK = """
import json, sys
from controllers import northbound
print(json.dumps(northbound.ask("block", host=sys.argv[1], reason="scan")))
"""


def foobar(bed: RunningTestbed, *words: str) -> Done:
    return bed.commands(*words, "--name", bed.name)


def detected(bed: RunningTestbed, host: str) -> dict[str, Any]:
    """A detector asks for a block of that host."""
    answer: dict[str, Any] = json.loads(bed.run("mon", "env", f"PYTHONPATH={PROJECT}", "python3", "-c", ASK, host))
    return answer


def reached(bed: RunningTestbed, host: str) -> bool:
    return bed.connects(host, SITE_ADDRESS, SITE_PORT, seconds=0.5)


def blocked(bed: RunningTestbed) -> list[str]:
    return [row["host"] for row in json.loads(foobar(bed, "blocks", "--json").stdout)]


def told(bed: RunningTestbed, since: float) -> list[str]:
    """The events since then: which, and of whom."""
    rows = [json.loads(line) for line in foobar(bed, "events", "--json").stdout.splitlines()]
    return [f"{row['event']} {row['host']}" for row in rows if row["by"] == "controller" and row["time"] >= since]


@pytest.fixture
def free(second: RunningTestbed) -> Iterator[RunningTestbed]:
    """A testbed on which nobody is blocked, before and after."""
    assert blocked(second) == []
    yield second
    for host in blocked(second):
        foobar(second, "unblock", host)


def test_a_student_blocks_and_sees_what_becomes_of_it(free: RunningTestbed) -> None:
    assert reached(free, "attacker"), "the control: it could"
    began = time.time()
    done = foobar(free, "block", "attacker", "--for", "90s", "--reason", "scans us")
    assert (done.returncode, done.stdout) == (0, "attacker is blocked for 90s\n"), done.stderr
    assert not reached(free, "attacker")
    assert reached(free, "client")
    shown = foobar(free, "blocks").stdout
    assert shown.startswith("attacker: blocked on core for ")
    assert shown.endswith(" s more: scans us\n")

    def denied() -> str | None:
        rows = [json.loads(line) for line in foobar(free, "denied", "--json").stdout.splitlines()]
        own = [row for row in rows if row["time"] > began and row["rule"] == "block"]
        return None if ("attacker", "lb", 443) in {(row["src"], row["dst"], row["port"]) for row in own} else str(own)

    wait.until(denied, what="a sample of what is blocked", seconds=5)
    assert "overlay block attacker: scans us" in foobar(free, "status").stdout
    assert foobar(free, "unblock", "attacker").returncode == 0
    assert reached(free, "attacker")
    assert told(free, began) == ["blocked attacker", "unblocked attacker"]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("block lb", 64, "lb: the site needs it, so it is never blocked; hosts that may be: client, attacker"),
        ("block mon --for 1s", 64, "mon: the site needs it"),
        ("block srv9", 64, "srv9: no such host"),
        ("block attacker --for soon", 64, "--for soon: no time"),
        ("block attacker --for 25h", 64, "block attacker: for 90000 s: say more than none, and a day at most"),
        ("unblock client", 2, "unblock client: it is not blocked; `blocks` shows those that are"),
    ],
)
def test_what_cannot_be_is_refused_with_a_line(free: RunningTestbed, words: str, code: int, line: str) -> None:
    done = foobar(free, *words.split())
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"foobar: {line}")
    assert done.stderr.count("\n") == 1
    assert blocked(free) == []


def test_nobody_has_a_host_blocked_that_the_site_needs(free: RunningTestbed) -> None:
    done = free.exec("mon", "env", f"PYTHONPATH={PROJECT}", "python3", "-c", ASK, "lb")
    assert "UsageError: lb: the site needs it" in done.stderr
    assert blocked(free) == []


def test_a_block_and_its_memory_outlive_the_controller(free: RunningTestbed) -> None:
    began = time.time()
    first = detected(free, "attacker")
    assert foobar(free, "block", "attacker", "--for", "1s").returncode == 0
    wait.until(lambda: ", ".join(blocked(free)) or None, what="the end of the block", seconds=10)
    second = detected(free, "attacker")
    assert second["until"] - time.time() > 100 > first["until"] - began, "it doubles"
    old = free.service("box/controller")["pid"]
    free.run("box", "kill", "-9", str(old))
    assert not reached(free, "attacker")

    def look() -> str | None:
        row = free.service("box/controller")
        return None if row["pid"] != old and row["state"] == "ready" else f"{row['pid']} {row['state']}"

    wait.until(look, what="another controller", seconds=15)
    assert blocked(free) == ["attacker"]
    assert not reached(free, "attacker")
    assert detected(free, "attacker")["until"] == second["until"], "asked for again it stays as it is"
    assert foobar(free, "unblock", "attacker").returncode == 0
    assert reached(free, "attacker")
    assert told(free, began) == [
        "blocked attacker", "blocked attacker", "unblocked attacker", "blocked attacker", "unblocked attacker",
    ]  # fmt: skip


def test_while_a_block_stands_verify_holds_and_a_policy_is_applied_below_it(
    free: RunningTestbed, tmp_path: Path
) -> None:
    assert foobar(free, "block", "attacker").returncode == 0
    done = foobar(free, "verify")
    assert done.returncode == 0, done.stdout
    assert "note: overlay block attacker: by hand, until " in done.stdout
    file = tmp_path / "my.policy"
    for rules in ((MORE, *RULES), RULES):
        file.write_text(render(rules))
        done = foobar(free, "policy", "apply", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
        assert not reached(free, "attacker")
        assert reached(free, "client")
    free.run("box", "ovs-ofctl", "-O", "OpenFlow13", "del-flows", "core", "cookie=1014/-1")
    wrong = foobar(free, "verify")
    assert wrong.returncode == 1, "the control: a block that is not on its switch"
    assert "though the overlay block attacker stops it (by hand)" in wrong.stdout
    assert foobar(free, "unblock", "attacker").returncode == 0
    assert foobar(free, "verify").returncode == 0


def test_the_next_testbed_of_that_name_knows_of_no_block(commands: Commands) -> None:
    for _ in range(2):
        bed = commands.up("x")
        assert blocked(bed) == []
        assert foobar(bed, "events").stdout == ""
        assert reached(bed, "attacker")
        assert detected(bed, "attacker")["times"] == 1
        assert not reached(bed, "attacker")
        assert commands("down", "x").returncode == 0
