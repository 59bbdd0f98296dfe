"""Overlays on real switches. A fence keeps all others from a host's database: at once, open connections included, and
with no controller too."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from runningtestbed import RunningTestbed

from controllers.compile import OWN_COOKIES
from topo import wait
from topo.plan import SITE

pytestmark = pytest.mark.root
DATABASE = "10.0.3.11"
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


def ask(bed: RunningTestbed, request: str, **arguments: str) -> subprocess.CompletedProcess[str]:
    """The controller, asked from the host that has its socket."""
    from runningtestbed import PROJECT

    words = ["python3", "-c", ASK, request, json.dumps(arguments)]
    return bed.exec("mon", "env", f"PYTHONPATH={PROJECT}", *words)


def asked(bed: RunningTestbed, request: str, **arguments: str) -> Any:
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
    wait.until(lambda: None if bed.status()["steady"] else "not steady", what="steady again", seconds=20)


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
