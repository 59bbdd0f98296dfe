"""A dead, frozen, isolated or deposed primary of a real testbed: writes come back, never a second writer."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from runningtestbed import Commands, RunningTestbed, one_line

from services.failover import manager
from topo import wait
from topo.errors import DeadlineError
from topo.eventlog import events_in

pytestmark = pytest.mark.root
SERVERS = ("srv1", "srv2", "srv3")
SOCKET = "/run/mysqld/mysqld.sock"

# one row through the write endpoint as the application writes it; tried again under the same name until it is there
WRITE = """
import json, sys, time
import pymysql
account = json.load(open("/run/app/site.json"))["write"]
deadline = time.monotonic() + float(sys.argv[2])
while True:
    try:
        connection = pymysql.connect(
            host=account["host"], port=3306, user="app_write", password=account["password"], database="foobar",
            autocommit=True, connect_timeout=1, read_timeout=2, ssl_disabled=True)
        connection.cursor().execute("INSERT INTO users (name, password_hash) VALUES (%s, 'x')", (sys.argv[1],))
        break
    except pymysql.IntegrityError:
        break
    except pymysql.Error as error:
        if time.monotonic() > deadline:
            sys.exit(str(error))
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def managed(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("managed", "--db", "semisync")
    shared_commands("down", "managed")


def told(bed: RunningTestbed) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(bed.run("mon", "cat", manager.STATE))
    return value


def events(bed: RunningTestbed) -> list[dict[str, Any]]:
    """All in the log; a full disk may have left half a line in it."""
    return list(events_in(bed.run("mon", "cat", manager.LOG).encode()))


def write(bed: RunningTestbed, by: str, name: str, seconds: float = 5) -> None:
    done = bed.exec(by, *bed_python(), "-c", WRITE, name, str(seconds))
    assert done.returncode == 0, done.stderr + json.dumps(events(bed)[-12:])


def bed_python() -> tuple[str, ...]:
    import sys

    return (sys.executable,)


def writers(bed: RunningTestbed) -> list[str]:
    """Every server that would take an ordinary account's write."""
    found = []
    for server in SERVERS:
        done = bed.exec(server, "mariadb", "-S", SOCKET, "-N", "-B", "-e", "SELECT @@read_only")
        found += [server] if done.stdout.strip() == "0" else []
    return found


def settled(bed: RunningTestbed) -> str:
    """The primary, once everybody follows it and the testbed is steady in what concerns the databases."""
    try:
        wait.until(lambda: None if told(bed).get("settled") else str(told(bed)), what="everybody follows", seconds=20)
    except DeadlineError as error:
        raise AssertionError(f"{error}: {json.dumps(events(bed)[-12:])} {bed.status()['failures']}") from None
    return str(told(bed)["primary"])


def everywhere(bed: RunningTestbed, name: str) -> None:
    for server in SERVERS:
        wait.until(partial(_lacks, bed, server, name), what=f"{name} on {server}", seconds=20)


def _lacks(bed: RunningTestbed, server: str, name: str) -> str | None:
    """None when the name is there; a server that has just been switched on lets nobody in for a moment."""
    asked = f"SELECT COUNT(*) FROM foobar.users WHERE name = '{name}'"
    done = bed.exec(server, "mariadb", "-S", "/run/mysqld/mysqld.sock", "-N", "-B", "-e", asked)
    return None if done.stdout.strip() == "1" else done.stderr.strip() or "not there"


def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(managed: RunningTestbed) -> None:
    old = settled(managed)
    by = next(server for server in SERVERS if server != old)
    write(managed, by, f"before-{old}")
    began = time.time()
    managed.run(old, "pkill", "-9", "mariadbd")
    write(managed, by, f"after-{old}")
    new = told(managed)["primary"]
    assert new != old
    assert writers(managed) == [new]
    happened = [each["event"] for each in events(managed) if each["time"] > began]
    order = ["detect", "candidate", "drain", "drained", "promote", "promoted"]
    assert [event for event in happened if event in order][: len(order)] == order
    power_on(managed, old)
    assert settled(managed) == new
    assert writers(managed) == [new]
    for name in (f"before-{old}", f"after-{old}"):
        everywhere(managed, name)
    assert managed.commands("status", "--json", "--name", managed.name).returncode == 0


def power_on(bed: RunningTestbed, host: str) -> None:
    code = f"from services.failover import powerswitch; powerswitch.cycle({host!r})"
    from runningtestbed import PROJECT

    bed.run("mon", "env", f"PYTHONPATH={PROJECT}", *bed_python(), "-c", code)


def test_a_frozen_primary_that_thaws_takes_no_write(managed: RunningTestbed) -> None:
    old = settled(managed)
    by = next(server for server in SERVERS if server != old)
    managed.run(old, "pkill", "-STOP", "mariadbd")
    try:
        write(managed, by, f"frozen-{old}")
        assert managed.connects("lb", old, 3306, seconds=0.5) is False, "fenced: nobody but mon reaches it"
    finally:
        managed.run(old, "pkill", "-CONT", "mariadbd")
    new = settled(managed)
    assert new != old
    assert writers(managed) == [new]
    assert managed.connects("lb", old, 3306), "unfenced once it is a replica"
    everywhere(managed, f"frozen-{old}")


def test_a_planned_switchover(managed: RunningTestbed) -> None:
    old = settled(managed)
    new = next(server for server in SERVERS if server != old)
    done = managed.commands("switchover", "--name", managed.name, new)
    assert done.returncode == 0, done.stderr
    assert one_line(done.stdout).startswith(f"{new} takes the writes instead of {old}")
    assert settled(managed) == new
    assert writers(managed) == [new]
    write(managed, old, f"planned-{new}")
    everywhere(managed, f"planned-{new}")


@pytest.mark.parametrize(
    ("host", "code", "line"),
    [
        ("srv9", 64, "foobar: switchover srv9: no such server; servers: srv1, srv2, srv3"),
        ("primary", 2, "foobar: switchover {primary}: it is the primary already"),
    ],
)
def test_what_a_switchover_refuses(managed: RunningTestbed, host: str, code: int, line: str) -> None:
    primary = settled(managed)
    done = managed.commands("switchover", "--name", managed.name, primary if host == "primary" else host)
    assert (done.returncode, one_line(done.stderr)) == (code, line.format(primary=primary))


def test_the_manager_dies_with_the_primary(managed: RunningTestbed) -> None:
    """In the worst moment: nobody looks when the primary dies. The next manager finds it out and goes on."""
    old = settled(managed)
    by = next(server for server in SERVERS if server != old)
    restarts = managed.service("mon/failover")["restarts"]
    managed.run("mon", "pkill", "-9", "-f", "services.failover ")
    managed.run(old, "pkill", "-9", "mariadbd")
    write(managed, by, f"orphaned-{old}", seconds=10)
    assert managed.service("mon/failover")["restarts"] > restarts
    assert len(writers(managed)) == 1
    power_on(managed, old)
    new = settled(managed)
    assert writers(managed) == [new]
    everywhere(managed, f"orphaned-{old}")


def test_a_manager_that_is_cut_off_changes_nothing(managed: RunningTestbed) -> None:
    primary = settled(managed)
    before = len([each for each in events(managed) if each["event"] == "detect"])
    managed.run("mon", "ip", "link", "set", "mon-eth0", "down")
    try:
        wait.until(
            lambda: None if "cut off" in events(managed)[-1].get("why", "") else "nothing said",
            what="waiting",
            seconds=5,
        )
        write(managed, "srv1", "while-cut-off")
    finally:
        managed.run("mon", "ip", "link", "set", "mon-eth0", "up")
    assert settled(managed) == primary
    assert len([each for each in events(managed) if each["event"] == "detect"]) == before


# --- writes that do not end ------------------------------------------------------------------------------------------

# four writers, each with a connection of its own, for as long as standard input is open
WRITERS = """
import itertools, json, sys, threading, time
import pymysql
account = json.load(open("/run/app/site.json"))["write"]
def work(name):
    for number in itertools.count():
        try:
            connection = pymysql.connect(
                host=account["host"], port=3306, user="app_write", password=account["password"], database="foobar",
                autocommit=True, connect_timeout=1, read_timeout=2, ssl_disabled=True)
            while True:
                number += 1
                text = f"{sys.argv[1]} {name} {number} {time.time()}"
                connection.cursor().execute("INSERT INTO users (name, password_hash) VALUES (%s, 'x')", (text,))
                time.sleep(0.02)
        except pymysql.Error:
            time.sleep(0.05)
for name in range(int(sys.argv[2])):
    threading.Thread(target=work, args=(name,), daemon=True).start()
sys.stdin.read()
"""


@contextmanager
def writing(bed: RunningTestbed, by: str, name: str, writers: int = 4) -> Iterator[None]:
    """Writes under way while something fails."""
    argv = ("exec", "--name", bed.name, by, "--", *bed_python(), "-c", WRITERS, name, str(writers))
    with bed.commands.popen(*argv, stdin=subprocess.PIPE):
        yield


def since(bed: RunningTestbed, began: float) -> list[str]:
    return [event["event"] for event in events(bed) if event["time"] > began]


@pytest.mark.parametrize("number", range(3))
def test_writes_come_back_to_a_lone_replica_whose_link_came_and_went(managed: RunningTestbed, number: int) -> None:
    """MariaDB's own threads may then wait for each other for ever; the manager does not."""
    old, name = settled(managed), f"lone-{number}"
    with writing(managed, old, name), managed.broken(f"lone {old}"):
        write(managed, old, name, seconds=8)
    settled(managed)
    everywhere(managed, name)


def test_another_server_takes_over_from_a_primary_that_is_held_up_by_a_lock(managed: RunningTestbed) -> None:
    old, began = settled(managed), time.time()
    by = next(server for server in SERVERS if server != old)
    with writing(managed, by, "stuck"), managed.broken(f"stuck {old}"):
        write(managed, by, "after-stuck", seconds=8)
        assert "hand-over" in since(managed, began)
    assert settled(managed) != old
    everywhere(managed, "after-stuck")


def test_a_primary_whose_replicas_hear_nothing_is_replaced_by_one_of_them(managed: RunningTestbed) -> None:
    """The manager and the balancer reach it, so it is not dead; but no commit of it is ever acknowledged."""
    old, began = settled(managed), time.time()
    first, second = (server for server in SERVERS if server != old)
    with (
        writing(managed, old, "unheard"),
        managed.broken(f"blackhole {old} {first}"),
        managed.broken(f"blackhole {old} {second}"),
    ):
        write(managed, first, "after-unheard", seconds=8)
        assert "restart" in since(managed, began)
    assert settled(managed) != old
    everywhere(managed, "after-unheard")


def test_a_full_disk_of_the_primary_loses_nothing_and_heals(managed: RunningTestbed) -> None:
    """What it tells no client may be torn in its log: its replicas must not choke on it, nor it be their primary.

    With so many writers some are written in one go, and the last whole one stands right before the torn one.
    """
    old = settled(managed)
    by = next(server for server in SERVERS if server != old)
    write(managed, by, "before-full")
    with writing(managed, by, "full", writers=24), managed.broken(f"full {old} data"):
        wait.until(lambda: None if told(managed)["primary"] != old else "the same", what="another primary", seconds=30)
        write(managed, by, "after-full")
    assert settled(managed) != old
    assert len(writers(managed)) == 1
    for name in ("before-full", "after-full"):
        everywhere(managed, name)


@pytest.mark.parametrize("host", ["mon", "primary"])
def test_a_full_log_stops_no_write(managed: RunningTestbed, host: str) -> None:
    """The manager's own log too: it goes on deciding, and says nothing."""
    old = settled(managed)
    restarts = managed.service("mon/failover")["restarts"]
    by = next(server for server in SERVERS if server != old)
    with managed.broken(f"full {old if host == 'primary' else host} log"):
        managed.run(old, "pkill", "-9", "mariadbd")
        write(managed, by, f"full-log-{host}", seconds=8)
        power_on(managed, old)
        everywhere(managed, f"full-log-{host}")
    assert settled(managed) != old
    assert managed.service("mon/failover")["restarts"] == restarts


# --- settings that the promise rests on ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "setting", "right", "on_primary"),
    [
        ("SET GLOBAL rpl_semi_sync_master_enabled = OFF", "rpl_semi_sync_master_enabled", "1", True),
        ("SET GLOBAL rpl_semi_sync_master_timeout = 100", "rpl_semi_sync_master_timeout", str(2**64 - 1), True),
        ("SET GLOBAL rpl_semi_sync_master_wait_no_slave = 0", "rpl_semi_sync_master_wait_no_slave", "1", True),
        ("SET GLOBAL rpl_semi_sync_slave_enabled = OFF", "rpl_semi_sync_slave_enabled", "1", False),
        ("SET GLOBAL sync_binlog = 0", "sync_binlog", "1", False),
        ("SET GLOBAL innodb_flush_log_at_trx_commit = 0", "innodb_flush_log_at_trx_commit", "3", True),
        ("SET GLOBAL gtid_strict_mode = 0", "gtid_strict_mode", "1", False),
        ("SET GLOBAL slave_exec_mode = IDEMPOTENT", "slave_exec_mode", "STRICT", False),
        ("SET GLOBAL server_id = 9", "server_id", "", False),
    ],
)
def test_a_setting_changed_by_hand_is_put_back_and_told(
    managed: RunningTestbed, statement: str, setting: str, right: str, on_primary: bool
) -> None:
    primary, began = settled(managed), time.time()
    server = primary if on_primary else next(name for name in SERVERS if name != primary)
    managed.sql(server, statement)
    wait.until(
        lambda: None if managed.sql(server, f"SELECT @@{setting}") == (right or server[-1]) else "not yet",
        what=f"{setting} as promised",
        seconds=3,
    )
    assert "corrected" in since(managed, began)
    assert settled(managed) == primary


def test_without_a_manager_there_is_no_switchover(bed: RunningTestbed) -> None:
    done = bed.commands("switchover", "--name", bed.name, "srv2")
    assert done.returncode == 64
    assert "--db single has no manager" in one_line(done.stderr)
