"""A Galera cluster on a real testbed: one writer at a time, nobody else in its group, back after any crash."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runningtestbed import Commands, RunningTestbed

from controllers.compile import rule_number
from controllers.policy import policy
from services.gunicorn import SITE_CONFIG
from services.mariadb.mariadb import DATA
from topo import wait
from topo.plan import GROUP, PORTS
from topo.plan import plan as plan_of
from topo.profile import Profile

pytestmark = pytest.mark.root
SERVERS = ("srv1", "srv2", "srv3")
DENIED = rule_number(policy(plan_of(Profile(db="galera", monitoring="off"))), "deny-rest")

# rows through the write endpoint, as the application writes; each line is who took it
WRITE = """
import json, sys, time
import pymysql
INSERT = "INSERT INTO users (name, password_hash) VALUES (%s, 'x') RETURNING @@server_id"
account, deadline = json.load(open(sys.argv[1]))["write"], time.monotonic() + 10
for name in sys.argv[2:]:
    while True:
        try:
            with pymysql.connect(host=account["host"], user=account["user"], password=account["password"],
                                 database="foobar", autocommit=True, connect_timeout=1, read_timeout=2) as connection:
                cursor = connection.cursor()
                cursor.execute(INSERT, (name,))
                print(f"srv{cursor.fetchone()[0]}")
                break
        except pymysql.Error as error:
            if time.monotonic() > deadline:
                sys.exit(str(error))
            time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def cluster(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("galera", "--db", "galera")
    shared_commands("down", "galera")


@pytest.fixture(autouse=True)
def healed(cluster: RunningTestbed) -> Iterator[None]:
    """What a test leaves broken is not the next one's."""
    yield
    cluster.commands("heal", "--name", cluster.name, seconds=120)


def writers(bed: RunningTestbed, by: str, *names: str) -> list[str]:
    """Write rows of these names; the server that took each."""
    return bed.run(by, sys.executable, "-c", WRITE, SITE_CONFIG, *names).split()


def has(bed: RunningTestbed, server: str, name: str) -> bool:
    return bed.sql(server, f"SELECT COUNT(*) FROM foobar.users WHERE name = '{name}'") == "1"


def said(bed: RunningTestbed, server: str, status: str) -> str:
    return bed.sql(server, f"SHOW STATUS LIKE 'wsrep_{status}'").partition("\t")[2]


def until_whole(bed: RunningTestbed) -> None:
    def look() -> str | None:
        seen = {each: (said(bed, each, "local_state_comment"), said(bed, each, "cluster_size")) for each in SERVERS}
        return None if set(seen.values()) == {("Synced", "3")} else str(seen)

    wait.until(look, what="the cluster whole", seconds=60)


def heal(bed: RunningTestbed) -> None:
    done = bed.commands("heal", "--name", bed.name, seconds=120)
    assert done.returncode == 0, done.stderr
    until_whole(bed)


def test_one_takes_the_writes_and_all_have_them(cluster: RunningTestbed) -> None:
    taken = [writers(cluster, server, f"from-{server}-1", f"from-{server}-2") for server in SERVERS]
    assert taken == [["srv1"] * 2] * 3
    assert all(has(cluster, server, "from-srv3-2") for server in SERVERS)
    assert {said(cluster, server, "cluster_status") for server in SERVERS} == {"Primary"}


@pytest.mark.parametrize("outsider", ["attacker", "lb", "mon"])
def test_outsiders_cannot_join_the_group(cluster: RunningTestbed, outsider: str) -> None:
    before = cluster.packets("fw1", DENIED)
    assert not cluster.connects(outsider, "srv1", PORTS[GROUP])
    assert cluster.packets("fw1", DENIED) > before
    assert cluster.connects("srv2", "srv1", PORTS[GROUP])


def test_servers_reach_nothing_else_of_each_other(cluster: RunningTestbed) -> None:
    before = cluster.packets("fw2", DENIED)
    assert not cluster.connects("srv2", "srv1", 3306)
    assert cluster.packets("fw2", DENIED) > before


@pytest.mark.parametrize("kind", ["kill", "freeze", "stop"])
def test_when_the_writer_fails_another_takes_over_and_keeps_the_writes(cluster: RunningTestbed, kind: str) -> None:
    (first,) = writers(cluster, "srv1", f"before-{kind}")
    cluster.fault(f"{kind} {first} mariadb")
    (second,) = writers(cluster, next(each for each in SERVERS if each != first), f"during-{kind}")
    assert second != first
    heal(cluster)
    assert writers(cluster, "srv1", f"after-{kind}") == [second]
    assert all(has(cluster, first, f"{when}-{kind}") for when in ("before", "during", "after"))


def test_a_server_that_is_cut_off_says_so(cluster: RunningTestbed) -> None:
    """Without a majority it takes nothing; the others go on."""
    (first,) = writers(cluster, "srv1", "before-cut")
    cluster.fault(f"cut {first}")
    (second,) = writers(cluster, next(each for each in SERVERS if each != first), "during-cut")
    assert second != first

    def refuses() -> str | None:
        done = cluster.exec(first, "mariadb", "-S", "/run/mysqld/mysqld.sock", "-e", "SELECT 1 FROM foobar.users")
        return None if "WSREP has not yet prepared node" in done.stderr else done.stdout + done.stderr

    wait.until(refuses, what="its refusal", seconds=30)
    heal(cluster)
    assert has(cluster, first, "during-cut")


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_after_all_have_ended_they_find_each_other_again(cluster: RunningTestbed, kind: str) -> None:
    writers(cluster, "srv1", f"before-all-{kind}")
    for server in SERVERS:
        cluster.fault(f"{kind} {server} mariadb")
    heal(cluster)
    writers(cluster, "srv1", f"after-all-{kind}")
    assert all(has(cluster, server, f"{when}-all-{kind}") for server in SERVERS for when in ("before", "after"))
    assert {row["state"] for row in cluster.status()["services"]} == {"ready"}


def test_a_server_that_lost_everything_is_sent_it_whole(cluster: RunningTestbed) -> None:
    writers(cluster, "srv1", "before-loss")
    cluster.fault("kill srv3 mariadb")
    cluster.run("srv3", "find", DATA, "-mindepth", "1", "-delete")
    heal(cluster)
    assert has(cluster, "srv3", "before-loss")


def test_the_journey_has_its_13_steps(commands: Commands, tmp_path: Path) -> None:
    done = commands("--runs", str(tmp_path / "runs"), "--db", "galera", seconds=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f"{number:2} ✓" in done.stdout for number in range(1, 14)] == [True] * 13
