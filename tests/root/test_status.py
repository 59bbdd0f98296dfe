"""``status`` never lies: whatever fails, however it fails, it says so; once that is mended it is steady again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from inject_every_fault import CHECKS
from runningtestbed import Commands, RunningTestbed

from testbed.faults.registry import KINDS
from topo import wait

pytestmark = pytest.mark.root
SECONDS = 2.0  # for a look; the command itself takes some tenths

#: one fault of each kind; of most is known where it can be seen besides: in the problems that are not the fault itself
SEED = {fault.split()[0]: (fault, "faults in force: ") for fault in CHECKS} | {
    "kill": ("kill srv3 web", "srv3/web: killed"),
    "stop": ("stop srv2 app", "srv2/app: stopped"),
    "freeze": ("freeze srv3 db", "srv3/db: paused"),
    "error500": ("error500 srv2", "balancer: srv2 of servers is DOWN"),
    "cut": ("cut srv3", "links: fw3 - srv3 is down"),
    "blackhole": ("blackhole lb srv1", "rule web: lb -> srv1: tcp/80: "),
    "full": ("full srv2 log", "disks: srv2:/var/log is full"),
    "off": ("off srv3", "srv3/db: killed"),
    "stop-controller": ("stop-controller", "box/controller: stopped"),
}
MANAGED = {name: name for name, kind in KINDS.items() if kind.words.startswith("PRIMARY") and name != "planned"}


@pytest.fixture(scope="module")
def own(shared_commands: Commands) -> Iterator[RunningTestbed]:
    """One that is broken by hand again and again."""
    yield shared_commands.up("own")
    shared_commands("down", "own")


@pytest.fixture(scope="module")
def managed(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("looked-after", "--db", "semisync")
    shared_commands("down", "looked-after")


def look(bed: RunningTestbed) -> dict[str, Any]:
    began = time.time()
    status = bed.status()
    assert time.time() - began < SECONDS + 8, "python itself starts in less, on a busy machine too"
    assert status["steady"] == (not status["problems"])
    return status


def unsteady(bed: RunningTestbed, symptom: str) -> None:
    """It says so, within the time that others take to notice (a health check, the next heartbeat)."""
    wait.until(lambda: _lies(bed, symptom), what=f"a status with {symptom!r}", seconds=15)


def _lies(bed: RunningTestbed, symptom: str) -> str | None:
    status = look(bed)
    seen = not status["steady"] and any(problem.startswith(symptom) for problem in status["problems"])
    return None if seen else f"steady: {status['steady']}, {status['problems']}"


def steady(bed: RunningTestbed, seconds: float = 40) -> dict[str, Any]:
    """Steady again; also for scripts, which read the same."""
    status: dict[str, Any] = {}

    def problems() -> str | None:
        status.update(look(bed))
        return "; ".join(status["problems"]) or None

    wait.until(problems, what="steady again", seconds=seconds)
    return status


def in_force(bed: RunningTestbed, fault: str) -> None:
    number = bed.fault(fault)
    try:
        status = look(bed)
        assert not status["steady"], "at once"
        assert any(problem.startswith("faults in force: ") for problem in status["problems"])
        assert f"fault {number}: " in bed.commands("status", "--name", bed.name).stdout
    except BaseException:
        bed.commands("heal", "--name", bed.name, seconds=240)
        raise


def heal(bed: RunningTestbed) -> None:
    done = bed.commands("heal", "--name", bed.name, seconds=240)
    assert done.returncode == 0, done.stderr


# --- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SEED)
def test_with_a_fault_in_force_it_is_not_steady_and_names_fault_and_symptom(own: RunningTestbed, kind: str) -> None:
    fault, symptom = SEED[kind]
    steady(own)
    in_force(own, fault)
    try:
        unsteady(own, symptom)
    finally:
        heal(own)
    steady(own)


@pytest.mark.parametrize("kind", [*MANAGED, "planned"])
def test_with_a_fault_of_the_database_too(managed: RunningTestbed, kind: str) -> None:
    steady(managed)
    primary = json.loads(managed.run("mon", "cat", "/run/failover/state.json"))["primary"]
    successor = "srv2" if primary != "srv2" else "srv3"
    in_force(managed, f"planned {primary} {successor}" if kind == "planned" else f"{kind} {primary}")
    heal(managed)
    steady(managed)


# --- by hand -------------------------------------------------------------------------------------------------------


@contextmanager
def done(bed: RunningTestbed, host: str, do: str, undo: str) -> Iterator[None]:
    bed.run(host, "sh", "-c", do)
    try:
        yield
    finally:
        bed.run(host, "sh", "-c", undo)


def sql(statement: str) -> str:
    return f'mariadb -S /run/mysqld/mysqld.sock -e "{statement}"'


DROP = "table=0,priority=50000,ip,nw_src=10.0.3.12"
BY_HAND: dict[str, tuple[str, str, str, str]] = {
    "the switch's end of a link": (
        "box",
        "ip link set fw3-eth2 down",
        "ip link set fw3-eth2 up",
        "links: fw3 - srv3 is down",
    ),
    "the host's end of a link": (
        "attacker",
        "ip link set attacker-eth0 down",
        "ip link set attacker-eth0 up",
        "links: core - attacker is down",
    ),
    "a flow that drops": (
        "box",
        f"ovs-ofctl -O OpenFlow13 add-flow fw2 {DROP},actions=drop",
        f"ovs-ofctl -O OpenFlow13 --strict del-flows fw2 {DROP}",
        "flows of fw2: ",
    ),
    "a route into nothing": (
        "srv3",
        "ip route add blackhole 10.0.2.10/32",
        "ip route del blackhole 10.0.2.10/32",
        "rule web: lb -> srv3: tcp/80: ",
    ),
    "a primary that is read-only": (
        "srv1",
        sql("SET GLOBAL read_only=1"),
        sql("SET GLOBAL read_only=0"),
        "primary: srv1 takes no writes",
    ),
    "a replica that takes writes": (
        "srv2",
        sql("SET GLOBAL read_only=0"),
        sql("SET GLOBAL read_only=1"),
        "replication: srv2: takes writes, though srv1 is the primary",
    ),
    "a setting that the promise rests on": (
        "srv1",
        sql("SET GLOBAL sync_binlog=0"),
        sql("SET GLOBAL sync_binlog=1"),
        "settings: srv1: ",
    ),
    "a replica that receives nothing": (
        "srv3",
        sql("STOP SLAVE IO_THREAD"),
        sql("START SLAVE IO_THREAD"),
        "replication: srv3: receiving No",
    ),
    "an application that fails": (
        "srv2",
        "touch /run/app/broken",
        "rm /run/app/broken",
        "balancer: srv2 of servers is DOWN",
    ),
    "a daemon that stands still": ("srv2", "pkill -STOP nginx", "pkill -CONT nginx", "srv2/web: pid "),
    "a full disk": (
        "box",
        "mount -t tmpfs -o size=64k tmpfs /run/foobar/hosts/srv3/tmp",
        "umount /run/foobar/hosts/srv3/tmp",
        "disks: srv3:/tmp is full",
    ),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_what_is_broken_by_hand_is_seen_and_seen_to_be_mended(own: RunningTestbed, what: str) -> None:
    host, do, undo, symptom = BY_HAND[what]
    steady(own)
    with done(own, host, do, undo):
        unsteady(own, symptom)
    steady(own)


def test_a_service_killed_by_hand_has_died_and_is_well_again_when_it_is_started_by_hand(own: RunningTestbed) -> None:
    steady(own)
    own.run("srv2", "pkill", "-9", "nginx")
    unsteady(own, "srv2/web: died")
    words = ("exec", "--name", own.name, "srv2", "--", "nginx", "-c", "/run/nginx/nginx.conf")
    with own.commands.popen(*words):
        steady(own)
        assert own.service("srv2/web")["state"] == "by hand"
        own.run("srv2", "pkill", "nginx")
    unsteady(own, "srv2/web: died")


def test_a_replica_that_has_more_than_its_primary_is_not_steady_and_cannot_rejoin(managed: RunningTestbed) -> None:
    """The last test of this testbed: nothing mends it."""
    steady(managed)
    primary = json.loads(managed.run("mon", "cat", "/run/failover/state.json"))["primary"]
    other = "srv2" if primary != "srv2" else "srv3"
    insert = "INSERT INTO foobar.users (name, password_hash) VALUES ('{}', 'x')"
    managed.run(primary, "sh", "-c", sql(insert.format("known")))  # one that has nothing at all refuses nothing
    steady(managed)
    managed.run(other, "sh", "-c", sql(f"{insert.format('unknown')}; STOP SLAVE"))
    unsteady(managed, f"failover: not settled: the primary is {primary}; {other} cannot rejoin: ")


# --- testbeds that do not answer -----------------------------------------------------------------------------------


def stop(bed: RunningTestbed) -> list[int]:
    """All processes of one, stopped."""
    pids = list(bed.processes().alive)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def only_itself(bed: RunningTestbed) -> list[int]:
    """The process within the box that answers; its launcher waits for it as before."""
    (pid,) = [pid for pid in bed.processes().alive if _words(_parent(pid)).startswith("tini")]
    os.kill(pid, signal.SIGSTOP)
    return [pid]


def _words(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as stream:
        return stream.read()


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("halt", [stop, only_itself])
def test_one_that_is_stopped_silences_no_other_and_is_ended_quickly(
    bed: RunningTestbed, shared_commands: Commands, halt: Callable[[RunningTestbed], list[int]]
) -> None:
    deaf = shared_commands.up("deaf")
    halt(deaf)
    began = time.monotonic()
    rows = {row["name"]: row for row in json.loads(shared_commands("status", "--json").stdout)}
    assert time.monotonic() - began < SECONDS + 8
    assert (rows["deaf"]["answers"], rows["deaf"]["steady"]) == (False, False)
    assert "does not answer" in rows["deaf"]["problems"][0]
    assert rows[bed.name]["answers"]
    began = time.monotonic()
    assert shared_commands("down", "deaf").stdout == "deaf: down\n"
    assert time.monotonic() - began < 15
