"""Every --tls on a real testbed: who is believed, who is refused, and what somebody in the middle achieves."""

from __future__ import annotations

import csv
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import Commands, Done, Experiments, Machine, RunningTestbed

from services import gunicorn, haproxy, nginx
from services.mariadb import mariadb
from topo import wait
from topo.plan import APP, SITE, STATISTICS
from topo.plan import plan as plan_of
from topo.profile import Profile
from topo.tls import MEANINGS

pytestmark = pytest.mark.root
PLAN = plan_of(Profile())
ENCRYPTED = [tls for tls, meaning in MEANINGS.items() if meaning.backend_tls]
URL = f"https://{SITE}/"
KEYS = {"srv1": [nginx.CERTIFICATE, gunicorn.PROOF, mariadb.CERTIFICATE], "lb": [haproxy.CERTIFICATE, haproxy.PROOF]}
# the same testbed as for the tests of all values
MUTUAL = pytest.mark.parametrize("bed", ["mutual"], indirect=True)


@pytest.fixture(scope="module", params=ENCRYPTED)
def bed(request: pytest.FixtureRequest, shared_commands: Commands) -> Iterator[RunningTestbed]:
    """One testbed for each value, with quick checks."""
    yield shared_commands.up(f"tls-{request.param}", "--tls", request.param, "--health", "fast")
    shared_commands("down", f"tls-{request.param}")


def tls_of(bed: RunningTestbed) -> str:
    return bed.name.removeprefix("tls-")


def curl(bed: RunningTestbed, host: str, *words: str) -> Done:
    return bed.exec(
        host, "curl", "-sS", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", *words
    )


def test_the_site_answers_by_name_over_http2(bed: RunningTestbed) -> None:
    assert curl(bed, "client", URL).stdout == "2 200"
    headers = bed.run("client", "curl", "-sSI", URL).lower()
    assert all(f"\n{name}: " in headers for name in ("x-served-by", "x-request-id", "strict-transport-security"))
    assert curl(bed, "client", f"http://{SITE}/").stdout == "1.1 301"


def test_the_application_knows_the_visitor(bed: RunningTestbed) -> None:
    """Whatever a visitor claims, and however many proxies there are."""
    path = f"/login?name={tls_of(bed)}"
    assert curl(bed, "client", "-H", "X-Forwarded-For: 192.0.2.1", f"https://{SITE}{path}").stdout == "2 200"
    lines = [line for host in PLAN.hosts_of(APP) for line in bed.run(host.name, "cat", gunicorn.ACCESS).splitlines()]
    (row,) = [json.loads(line) for line in lines if path in line]
    assert row["from"].split(", ")[0 if tls_of(bed) == "passthrough" else -2] == PLAN.host("client").ip


def test_servers_speak_nothing_but_tls(bed: RunningTestbed) -> None:
    """Port 80 is shut by the firewall, and behind it nobody listens there."""
    bed.assert_blocked("lb", "srv1", 80, by="fw1", instead=("srv1", 443))
    assert not bed.connects("srv1", "127.0.0.1", 80)
    assert bed.connects("srv1", "127.0.0.1", 443)


def test_keys_are_their_owners_alone(bed: RunningTestbed) -> None:
    there = 0
    for host, keys in KEYS.items():
        for key in keys:
            done = bed.exec(host, "stat", "-c", "%a", f"{key}.key")
            there += done.returncode == 0
            assert done.stdout in ("600\n", ""), key
    assert there == {"reencrypt": 2, "passthrough": 1, "mutual": 5}[tls_of(bed)]


def test_another_name_is_refused(bed: RunningTestbed) -> None:
    """The balancer passes on what is for the site; what it ends itself, the visitor's check refuses."""
    elsewhere = ["--resolve", f"www.example.com:443:{PLAN.host('lb').ip}", "https://www.example.com/"]
    assert curl(bed, "client", *elsewhere).returncode != 0
    if tls_of(bed) == "passthrough":
        assert curl(bed, "client", "--insecure", *elsewhere).returncode == 35
        assert curl(bed, "client", "--insecure", f"https://{PLAN.host('lb').ip}/").returncode == 35
    assert curl(bed, "client", URL).returncode == 0


def test_another_servers_certificate_is_refused(bed: RunningTestbed) -> None:
    """srv2 in srv1's place: signed by our own authority, but in another name."""
    wait_for_server(bed, "UP", "L7OK")
    try:
        order(bed, f"set server servers/srv1 addr {PLAN.host('srv2').ip}")
        wait_for_server(bed, "DOWN", "L6RSP")
        assert curl(bed, "client", URL).returncode == 0
    finally:
        order(bed, f"set server servers/srv1 addr {PLAN.host('srv1').ip}")
    wait_for_server(bed, "UP", "L7OK")


def order(bed: RunningTestbed, words: str) -> None:
    """A command for the balancer, on its own socket."""
    code = (
        "import socket, sys; admin = socket.socket(socket.AF_UNIX); admin.connect(sys.argv[1]);"
        " admin.sendall(sys.argv[2].encode()); admin.recv(9)"
    )
    bed.run("lb", "python3", "-c", code, haproxy.SOCKET, f"{words}\n")


def wait_for_server(bed: RunningTestbed, status: str, check: str) -> None:
    def look() -> str | None:
        shown = bed.run("lb", "curl", "-sS", f"http://127.0.0.1:{PLAN.port(STATISTICS)}/;csv").removeprefix("# ")
        rows = csv.DictReader(shown.splitlines())
        row = next(row for row in rows if (row["pxname"], row["svname"]) == ("servers", "srv1"))
        # "UP 1/2": on its way down
        return (
            None
            if (row["status"], row["check_status"]) == (status, check)
            else f"{row['status']} {row['check_status']}"
        )

    wait.until(look, what=f"srv1 {status} by {check}", seconds=15)


# --- mutual: both sides prove themselves --------------------------------------------------------------------------


@MUTUAL
def test_nginx_answers_the_balancer_alone(bed: RunningTestbed) -> None:
    page = "https://srv1/healthz"
    assert curl(bed, "lb", "--cert", haproxy.PROOF, "--key", f"{haproxy.PROOF}.key", page).stdout == "1.1 200"
    assert curl(bed, "lb", page).stdout == "1.1 400"
    # an application's certificate is of the same authority, and still another's
    assert curl(bed, "srv1", "--cert", gunicorn.PROOF, "--key", f"{gunicorn.PROOF}.key", page).stdout == "1.1 403"


# how a database is reached, by what is left out; each line is what came of it
CONNECT = """
import json, sys, pymysql
account = json.load(open(sys.argv[1]))["write"]
right = dict(host=account["host"], ssl_ca=account["ca"], ssl_cert=account["proof"], ssl_key=account["proof"] + ".key",
             ssl_verify_cert=True, ssl_verify_identity=True)
ways = {"right": right, "plain": {"host": account["host"], "ssl_disabled": True},
        "no proof": {name: value for name, value in right.items() if name not in ("ssl_cert", "ssl_key")},
        "other name": {**right, "host": "lb"}}
for name, way in ways.items():
    try:
        with pymysql.connect(user=account["user"], password=account["password"], **way) as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
            print(json.dumps([name, cursor.fetchone()[1]]))
    except pymysql.Error as error:
        print(json.dumps([name, str(error)]))
"""


@MUTUAL
def test_databases_refuse_plain_text_and_strangers(bed: RunningTestbed) -> None:
    shown = bed.run("srv2", sys.executable, "-c", CONNECT, gunicorn.SITE_CONFIG)
    came_of_it: dict[str, str] = dict(json.loads(line) for line in shown.splitlines())
    assert came_of_it["right"] == "TLSv1.3"
    assert "Access denied" in came_of_it["plain"]
    assert "Access denied" in came_of_it["no proof"]
    assert "Hostname mismatch" in came_of_it["other name"]


@MUTUAL
def test_replication_is_encrypted_and_refuses_another_name(bed: RunningTestbed) -> None:
    assert replica_says(bed, "Master_SSL_Allowed") == replica_says(bed, "Slave_IO_Running") == "Yes"
    try:
        follow(bed, "srv1")  # the right server, by a name that its certificate does not have
        wait.until(
            lambda: None if "validation" in replica_says(bed, "Last_IO_Error") else "-", what="refusal", seconds=10
        )
    finally:
        follow(bed, PLAN.host("srv1").ip)
    wait.until(lambda: None if replica_says(bed, "Slave_IO_Running") == "Yes" else "-", what="following", seconds=10)


def follow(bed: RunningTestbed, name: str) -> None:
    bed.sql("srv3", f"STOP SLAVE; CHANGE MASTER TO MASTER_HOST='{name}'; START SLAVE")


def replica_says(bed: RunningTestbed, field: str) -> str:
    shown = bed.run("srv3", "mariadb", "-S", mariadb.SOCKET, "-e", "SHOW SLAVE STATUS\\G")
    return next(line.partition(": ")[2] for line in shown.splitlines() if line.strip().startswith(f"{field}:"))


# --- experiments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ENCRYPTED)
def test_the_journey_has_its_13_steps(commands: Commands, tmp_path: Path, tls: str) -> None:
    done = commands("--runs", str(tmp_path / "runs"), "--tls", tls)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f"{number:2} ✓" in done.stdout for number in range(1, 14)] == [True] * 13


@pytest.mark.parametrize(("tls", "code"), [("terminate", 1), ("reencrypt", 0), ("passthrough", 0)])
def test_somebody_in_the_middle(tmp_path: Path, tls: str, code: int) -> None:
    flags = (
        "--tls",
        tls,
        "--health",
        "fast",
        "--monitoring",
        "off",
        "--seconds",
        "3",
        "--runs",
        str(tmp_path / "runs"),
    )
    done = Experiments(tmp_path)("run", "tls_tampering", *flags)
    assert done.returncode == code, done.stdout + done.stderr
    evidence, result = (read(tmp_path, name) for name in ("evidence.json", "result.json"))
    assert result["steady"] == {"before": True, "after": True}
    assert evidence["redirect"]["healed"]
    changed = [row for row in evidence["asked"] if row["changed"]]
    assert {row["server"] for row in changed} == ({"srv1"} if tls == "terminate" else set())


def test_ctrl_c_unplugs_the_machine_in_the_middle(tmp_path: Path) -> None:
    """While the redirection is in force, not before."""
    commands, machine = Experiments(tmp_path), Machine(tmp_path)
    words = ("run", "tls_tampering", "--monitoring", "off", "--seconds", "60", "--runs", str(tmp_path / "runs"))
    with commands.popen(*words) as process:
        assert process.stderr is not None
        assert any(line == "foobar: redirected\n" for line in process.stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    timeline = read(tmp_path, "evidence.json")["timeline"]
    assert [(each["what"], each.get("as_compiled")) for each in timeline if "fault" in each] == [
        ("fault", None),
        ("fault in force", None),
        ("healed", True),
    ]
    machine.assert_clean()


def read(path: Path, name: str) -> dict[str, Any]:
    (file,) = (path / "runs").glob(f"tls_tampering/*/{name}")
    value: dict[str, Any] = json.loads(file.read_text())
    return value
