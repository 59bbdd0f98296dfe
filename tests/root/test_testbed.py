"""One testbed used as a student uses it: hosts, names, the site, the firewalls, the databases."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from runningtestbed import PROJECT, RunningTestbed

from controllers.compile import OWN_COOKIES
from services import deployment
from services.secrets import fresh
from services.site.sqlstore import NEWEST, SELECT_MESSAGES
from topo import wait
from topo.plan import SITE, STATISTICS
from topo.plan import plan as plan_of
from topo.profile import Profile

pytestmark = pytest.mark.root
PLAN = plan_of(Profile())
HOSTS = [host.name for host in PLAN.hosts]
URL = f"https://{SITE}/"


# --- status and exec ----------------------------------------------------------------------------------------------


def test_status_as_json(bed: RunningTestbed) -> None:
    status = bed.status()
    assert (status["name"], status["phase"], status["steady"]) == ("a", "up", True)
    assert status["profile"] == Profile().as_dict()
    assert {name: (each["ip"], each["zone"]) for name, each in status["hosts"].items()} == {
        host.name: (host.ip, host.zone) for host in PLAN.hosts
    }
    assert {row["state"] for row in status["services"]} == {"ready"}
    described = deployment.host_services(PLAN, PLAN.profile, fresh(PLAN, PLAN.profile))
    own = {row["id"] for row in status["services"] if row["host"] != "box"}
    assert own == {service.id for service in described}
    assert status["datapath"] in ("kernel", "user")


def test_status_for_people(bed: RunningTestbed) -> None:
    shown = bed.commands("status", "--name", "a").stdout
    assert "a: up" in shown
    assert "srv2/db" in shown
    assert "steady" in shown


def test_exec_passes_input_output_and_exit_status(bed: RunningTestbed) -> None:
    done = bed.exec("client", "sh", "-c", "cat; echo aside >&2; exit 37", input="hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (37, "hello\n", "aside\n")


def test_exec_of_what_is_not_there_is_127(bed: RunningTestbed) -> None:
    assert bed.exec("client", "no-such-program").returncode == 127


def test_exec_passes_words_as_they_are(bed: RunningTestbed) -> None:
    words = ["a b", "$HOME", "--name", "--", "*", ""]
    assert bed.run("lb", "python3", "-c", "import sys; print(sys.argv[1:])", *words).strip() == str(words)


def test_exec_gives_a_terminal_where_there_is_one(bed: RunningTestbed) -> None:
    """The program sees a terminal, its size, and what is typed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    script = "test -t 0 && test -t 1 && stty size && read x && echo got $x"
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with bed.commands.popen("exec", "--name", "a", "client", "--", "sh", "-c", script, **streams) as process:
        os.close(theirs)
        os.write(ours, b"typed\n")
        assert process.wait(20) == 0
    shown = os.read(ours, 10000).decode()
    os.close(ours)
    assert "33 99" in shown
    assert "got typed" in shown


@pytest.mark.parametrize("place", ["srv1", "box"])
def test_a_command_does_not_outlive_an_exec_that_is_killed(bed: RunningTestbed, place: str) -> None:
    seconds = f"{4000 + os.getpid() % 1000}.{len(place)}"

    def runs() -> bool:
        return f"sleep {seconds}" in bed.run("box", "ps", "-eo", "args").splitlines()

    with bed.commands.popen("exec", "--name", "a", place, "--", "sleep", seconds) as process:
        wait.until(lambda: None if runs() else "not yet", what="the command runs", seconds=20)
        process.kill()
        wait.until(lambda: "it runs" if runs() else None, what="the command is gone", seconds=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSEGV])
def test_exec_ends_by_the_signal_that_ended_its_command(bed: RunningTestbed, number: signal.Signals) -> None:
    """A shell says 128 and the number then; 1, nsenter's own status, would mean that a claim fails."""
    assert -bed.exec("srv1", "sh", "-c", f"kill -{number.value} $$").returncode == number


# --- each host is a machine of its own ----------------------------------------------------------------------------


def test_every_host_has_its_own_namespaces_name_and_processes(bed: RunningTestbed) -> None:
    kinds = ["net", "mnt", "uts", "ipc", "pid"]
    looked = {
        name: bed.run(
            name, "sh", "-c", "hostname; readlink " + " ".join(f"/proc/self/ns/{kind}" for kind in kinds)
        ).split()
        for name in (*HOSTS, "box")
    }
    assert {name: words[0] for name, words in looked.items()} == {name: name for name in looked}
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    for index in range(len(kinds)):
        inodes = [words[index + 1] for words in looked.values()]
        assert len({*inodes, own[index]}) == len(looked) + 1


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_sees_its_own_processes_only(bed: RunningTestbed, host: str) -> None:
    names = {name.rstrip(":") for name in bed.run(host, "sh", "-c", "cat /proc/[0-9]*/comm").split()}
    daemons = {
        "nginx": host.startswith("srv"),
        "mariadbd": host.startswith("srv"),
        "haproxy": host == "lb",
        "nsd": host == "dns",
        "ovs-vswitchd": False,
    }
    assert {daemon: daemon in names for daemon in daemons} == daemons


@pytest.mark.parametrize("directory", ["/run", "/tmp", "/var/log"])
def test_directories_are_private(bed: RunningTestbed, directory: str) -> None:
    mark = f"{directory}/only-srv1-{os.getpid()}"
    bed.run("srv1", "touch", mark)
    assert bed.exec("srv1", "test", "-e", mark).returncode == 0
    for other in ("srv2", "box"):
        assert bed.exec(other, "test", "-e", mark).returncode == 1
    assert not Path(mark).exists()
    bed.run("srv1", "rm", mark)


def test_hosts_and_resolvers(bed: RunningTestbed) -> None:
    for host in PLAN.hosts:
        known = bed.run(host.name, "cat", "/etc/hosts")
        assert f"{host.ip} {host.name}\n" in known
        assert (PLAN.host("lb").ip in known) == (host.zone != "internet" or host.name == "lb")
        assert f"nameserver {PLAN.host('dns').ip}\n" in bed.run(host.name, "cat", "/etc/resolv.conf")
    assert Path("/etc/hosts").read_text() != known


def test_private_keys_and_secrets_are_for_their_daemon_alone(bed: RunningTestbed) -> None:
    found = bed.run(
        "box",
        "sh",
        "-c",
        "cd /run/foobar/hosts; grep -rlsI -e 'PRIVATE KEY' -e secret_key -e 'IDENTIFIED BY' */run */log */lib */etc"
        " | xargs stat -c '%a %n'",
    )
    rows = found.splitlines()
    assert len(rows) >= 7
    assert [row for row in rows if not row.startswith("600 ")] == []


def test_the_box_is_sealed(bed: RunningTestbed) -> None:
    for place in (*HOSTS, "box"):
        assert "default" not in bed.run(place, "ip", "route")
    shown = bed.run("client", "sh", "-c", "ip -o link | cut -d: -f2 | cut -d@ -f1; ip -6 addr")
    assert shown.split() == ["lo", "client-eth0"], "two links, and no IPv6 address"


# --- names --------------------------------------------------------------------------------------------------------


def test_dns_knows_the_site_and_every_host(bed: RunningTestbed) -> None:
    names = [SITE, "foobar.com", *(f"{host.name}.foobar.com" for host in PLAN.hosts)]
    answers = bed.run("client", "dig", "+short", *names).split()
    assert answers == [PLAN.host("lb").ip] * 2 + [host.ip for host in PLAN.hosts]


def test_dns_says_what_does_not_exist_and_refuses_what_is_not_its_own(bed: RunningTestbed) -> None:
    unknown = bed.run("client", "dig", "nothing.foobar.com")
    assert "status: NXDOMAIN" in unknown
    assert "flags: qr aa" in unknown
    assert "SOA" in unknown
    assert "status: REFUSED" in bed.run("client", "dig", "example.org")
    assert bed.exec("client", "curl", "-sS", "https://nothing.foobar.com/").returncode == 6


def test_dns_over_tcp(bed: RunningTestbed) -> None:
    assert bed.run("client", "dig", "+tcp", "+short", SITE).strip() == PLAN.host("lb").ip


# --- the site -----------------------------------------------------------------------------------------------------


def headers(bed: RunningTestbed, url: str, *options: str) -> dict[str, str]:
    """The headers of an answer in lower case, with its ``status`` line."""
    shown = bed.run("client", "curl", "-sS", "-o", "/dev/null", "-D", "-", *options, url)
    status, *lines = shown.strip().splitlines()
    return {"status": status} | {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


def test_the_site_by_name_with_a_trusted_certificate(bed: RunningTestbed) -> None:
    done = bed.exec("client", "curl", "-sS", "--fail", URL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "</html>" in done.stdout
    assert (
        bed.exec(
            "client", "curl", "-sS", "--resolve", "other.foobar.com:443:10.0.2.10", "https://other.foobar.com/"
        ).returncode
        == 60
    )


def test_outside_the_testbed_its_authority_is_not_trusted(bed: RunningTestbed) -> None:
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    inside = bed.run("client", "cat", str(bundle))
    assert not bundle.exists() or len(inside) > len(bundle.read_text())


def test_http_goes_to_https_and_stays_there(bed: RunningTestbed) -> None:
    plain = headers(bed, f"http://{SITE}/login?x=1")
    assert plain["status"].split()[1] == "301"
    assert plain["location"] == f"https://{SITE}/login?x=1"
    assert "max-age=" in headers(bed, URL)["strict-transport-security"]


def test_http_2_and_1_1(bed: RunningTestbed) -> None:
    for options, version in (([], "2"), (["--http1.1"], "1.1")):
        assert bed.run("client", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_version}", *options, URL) == version


@pytest.mark.parametrize(
    ("version", "accepted"), [("tls1", False), ("tls1_1", False), ("tls1_2", True), ("tls1_3", True)]
)
def test_tls_versions(bed: RunningTestbed, version: str, accepted: bool) -> None:
    """The client offers even its weakest ciphers, so a refusal is the server's."""
    options = ["-cipher", "ALL:@SECLEVEL=0"] if version != "tls1_3" else []
    done = bed.exec(
        "client", "openssl", "s_client", "-brief", "-connect", f"{SITE}:443", f"-{version}", *options, input=""
    )
    assert ("CONNECTION ESTABLISHED" in done.stderr) == accepted
    assert accepted or "alert protocol version" in done.stderr


def test_every_server_answers_in_turn(bed: RunningTestbed) -> None:
    served = [headers(bed, URL)["x-served-by"] for _ in range(6)]
    assert set(served) == {"srv1", "srv2", "srv3"}


def test_static_files_come_from_nginx(bed: RunningTestbed) -> None:
    answer = headers(bed, f"{URL}static/style.css")
    assert answer["status"].split()[1] == "200"
    assert answer["x-served-by"] in ("srv1", "srv2", "srv3")


def test_healthz_from_the_balancer(bed: RunningTestbed) -> None:
    for server in ("srv1", "srv2", "srv3"):
        done = bed.exec("lb", "curl", "-sS", "--fail", f"http://{server}/healthz")
        assert done.returncode == 0, done.stderr


def test_a_requests_id_runs_through_all_tiers(bed: RunningTestbed) -> None:
    answer = headers(bed, URL)
    request_id, server = answer["x-request-id"], answer["x-served-by"]
    logs = [("lb", "/var/log/haproxy.log"), (server, "/var/log/nginx/access.log"), (server, "/var/log/app/access.log")]
    for host, log in logs:
        wait.until(
            lambda host=host, log=log: None if request_id in bed.run(host, "cat", log) else f"not in {host}:{log}",  # type: ignore[misc]
            what="the request's line",
            seconds=5,
        )
        line = next(line for line in bed.run(host, "cat", log).splitlines() if request_id in line)
        assert json.loads(line)["request_id"] == request_id, "each line is one JSON object"


def test_a_log_stays_json_whatever_bytes_come_as_a_request(bed: RunningTestbed) -> None:
    since = len(bed.run("srv1", "cat", "/var/log/nginx/access.log").splitlines())
    talk = "import socket; s = socket.create_connection(('srv1', 80)); s.sendall({!r}); s.recv(1)"
    bed.run("lb", "python3", "-c", talk.format(b"\xb4\xff\x16 \xc3\r\n\r\n"))
    lines = [json.loads(line) for line in bed.run("srv1", "cat", "/var/log/nginx/access.log").splitlines()[since:]]
    assert "(not ASCII)" in [line["request"] for line in lines if line["status"] == 400]


def test_a_visitor_cannot_choose_the_request_id_or_the_address(bed: RunningTestbed) -> None:
    forged = ("-H", "X-Request-ID: forged", "-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: http")
    answer = headers(bed, URL, *forged)
    assert answer["x-request-id"] != "forged"
    log = bed.run(answer["x-served-by"], "cat", "/var/log/app/access.log")
    line = next(line for line in log.splitlines() if answer["x-request-id"] in line)
    assert "6.6.6.6" not in line
    assert PLAN.host("client").ip in line


def test_statistics_for_the_balancer_itself_alone(bed: RunningTestbed) -> None:
    """A monitoring client there pushes them; they are in plain text, and no password is asked."""
    port = PLAN.port(STATISTICS)
    assert "haproxy_process" in bed.run("lb", "curl", "-sS", "--fail", f"http://127.0.0.1:{port}/metrics")
    assert bed.exec("lb", "curl", "-sS", "-m", "2", f"http://lb:{port}/metrics").returncode
    before = bed.counter("core", "deny-rest")
    assert not bed.connects("mon", "lb", port)
    assert bed.counter("core", "deny-rest") > before
    bed.assert_blocked("attacker", "lb", port, by="core", instead=("lb", 443))


# --- the databases ------------------------------------------------------------------------------------------------


def test_replicas_follow_by_gtid(bed: RunningTestbed) -> None:
    bed.sql(
        "srv1", f"CREATE TABLE foobar.probe_{os.getpid()} (x INT); INSERT INTO foobar.probe_{os.getpid()} VALUES (42)"
    )
    for replica in ("srv2", "srv3"):
        wait.until(
            lambda replica=replica: None if _probe(bed, replica) == "42" else "not there",  # type: ignore[misc]
            what=f"the row on {replica}",
            seconds=5,
        )
        status = bed.run(replica, "mariadb", "-S", "/run/mysqld/mysqld.sock", "-e", "SHOW SLAVE STATUS\\G")
        assert "Using_Gtid: Slave_Pos" in status
        assert "Slave_SQL_Running: Yes" in status
    bed.sql("srv1", f"DROP TABLE foobar.probe_{os.getpid()}")


def _probe(bed: RunningTestbed, host: str) -> str:
    done = bed.exec(
        host, "mariadb", "-S", "/run/mysqld/mysqld.sock", "-N", "-B", "-e", f"SELECT x FROM foobar.probe_{os.getpid()}"
    )
    return done.stdout.strip()


def test_a_replica_whose_relay_log_was_lost_follows_again(bed: RunningTestbed) -> None:
    """As after a loss of power between two writes: what it applies from is no longer there."""
    number = bed.fault("kill srv3 mariadb")
    named = "cd /var/lib/mysql && sed -i 's/relay[.]0*[0-9]*/relay.000042/' relay-log.info && cat relay-log.info"
    assert "relay.000042" in bed.run("srv3", "sh", "-c", named)
    done = bed.commands("heal", "--name", bed.name, number)
    assert done.returncode == 0, done.stderr
    test_replicas_follow_by_gtid(bed)


def test_a_page_costs_the_same_however_many_messages_there_are(bed: RunningTestbed) -> None:
    """The newest are read along the primary key: nothing is sorted, and no more is read than is shown."""
    bed.sql(
        "srv1",
        "USE foobar; INSERT INTO users (name, password_hash) VALUES ('many', 'x');"
        " INSERT INTO messages (user_id, body, server)"
        " SELECT id, seq, 'srv1' FROM users JOIN seq_1_to_1000 WHERE name = 'many'; ANALYZE TABLE messages",
    )
    page = SELECT_MESSAGES % (NEWEST, 5)
    counted = bed.sql("srv1", f"USE foobar; FLUSH STATUS; {page}; SHOW STATUS LIKE 'Handler_read%'")
    read = sum(int(line.split()[1]) for line in counted.splitlines() if line.startswith("Handler_read"))
    bed.sql("srv1", "USE foobar; DELETE m FROM messages m JOIN users u ON u.id = m.user_id WHERE u.name = 'many'")
    assert 5 <= read < 30, counted


@pytest.mark.parametrize(("server", "writable"), [("srv1", True), ("srv2", False), ("srv3", False)])
def test_only_the_primary_takes_writes(bed: RunningTestbed, server: str, writable: bool) -> None:
    """Asked as an account without an administrator's power, made for this and kept out of the replication."""
    local = "SET sql_log_bin=0;"
    bed.sql(
        server, f"{local} CREATE OR REPLACE USER t@localhost; GRANT INSERT, CREATE, DROP ON foobar.* TO t@localhost"
    )
    done = bed.exec(
        server,
        "mariadb",
        "-S",
        "/run/mysqld/mysqld.sock",
        "-u",
        "t",
        "foobar",
        "-e",
        "START TRANSACTION; INSERT INTO users VALUES (); ROLLBACK",
    )
    assert ("read-only" in done.stderr) == (not writable), done.stderr
    bed.sql(server, f"{local} DROP USER t@localhost")


def test_accounts_may_do_only_what_they_must(bed: RunningTestbed) -> None:
    accounts = ("app_write@'10.0.2.10'", "app_read@localhost", "haproxy_check@'10.0.2.10'")
    grants = bed.sql("srv1", "; ".join(f"SHOW GRANTS FOR {account}" for account in accounts))
    given = {line.split(" TO ")[0] for line in grants.splitlines() if "USAGE" not in line}
    assert given == {
        "GRANT SELECT ON `foobar`.*",
        *(f"GRANT SELECT, INSERT ON `foobar`.`{table}`" for table in ("users", "messages", "idempotency_keys")),
        "GRANT SELECT, INSERT, DELETE ON `foobar`.`ended_sessions`",
        "GRANT SELECT, INSERT, UPDATE ON `foobar`.`guesses`",
    }


# --- the firewalls ------------------------------------------------------------------------------------------------


def test_nmap_by_name_finds_nothing_open(bed: RunningTestbed) -> None:
    before = bed.counter("fw1", "deny-rest")
    shown = bed.run("attacker", "nmap", "-Pn", "-p", "22,80,443,3306", "srv1")
    assert "4 filtered tcp ports" in shown or shown.count("filtered") >= 4, shown
    assert " open " not in shown
    assert bed.counter("fw1", "deny-rest") >= before + 4
    assert bed.connects("attacker", SITE, 443)


@pytest.mark.parametrize(
    ("src", "dst", "port", "by", "instead"),
    [
        ("attacker", "srv1.foobar.com", 80, "fw1", (SITE, 443)),
        ("client", "srv2.foobar.com", 3306, "fw2", (SITE, 80)),
        ("attacker", SITE, 22, "core", (SITE, 443)),
        ("attacker", SITE, 3306, "core", (SITE, 443)),
        ("lb", "srv2", 3306, "fw2", ("srv2", 80)),
        ("lb", "srv3", 22, "fw3", ("srv3", 80)),
        ("srv2", "srv3", 80, "fw2", ("srv1", 3306)),
        ("srv3", "lb", 80, "fw3", ("lb", 3306)),
        ("srv1", PLAN.host("client").ip, 22, "fw1", ("lb", 3306)),
        ("lb", PLAN.host("client").ip, 80, "core", ("srv1", 80)),
    ],
)
def test_what_no_rule_allows_is_blocked_and_counted(
    bed: RunningTestbed, src: str, dst: str, port: int, by: str, instead: tuple[str, int]
) -> None:
    bed.assert_blocked(src, dst, port, by=by, instead=instead)


def test_pings(bed: RunningTestbed) -> None:
    assert bed.exec("client", "ping", "-c1", "-W1", SITE).returncode == 0
    assert bed.exec("mon", "ping", "-c1", "-W1", "srv3").returncode == 0, bed.run("mon", "ip", "neigh")
    before = bed.counter("fw1", "deny-rest")
    assert bed.exec("client", "ping", "-c1", "-W1", "srv1.foobar.com").returncode == 1
    assert bed.counter("fw1", "deny-rest") > before


def test_pieces_of_a_packet_pass_nowhere_and_are_counted(bed: RunningTestbed) -> None:
    """Though the policy lets the monitoring host ping a server."""
    before = bed.packets("core", OWN_COOKIES["fragment"])
    assert bed.exec("mon", "ping", "-c1", "-W1", "-s", "1400", "srv1").returncode == 0
    assert bed.packets("core", OWN_COOKIES["fragment"]) == before
    assert bed.exec("mon", "ping", "-c1", "-W1", "-s", "4000", "srv1").returncode == 1
    assert bed.packets("core", OWN_COOKIES["fragment"]) > before


SEND = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind((sys.argv[1] + "-eth0", 0))
    for frame in sys.argv[2:]:
        raw.send(bytes.fromhex(frame))
"""


def mac(name: str) -> bytes:
    return bytes.fromhex(PLAN.host(name).mac.replace(":", ""))


def ip(name: str) -> bytes:
    return bytes(int(part) for part in PLAN.host(name).ip.split("."))


def udp(src_mac: bytes, src_ip: bytes, dst: str, port: int, tag: bytes = b"") -> str:
    """A UDP packet with any source, as hexadecimal digits."""
    data = struct.pack("!HHHH", 4242, port, 12, 0) + b"fake"
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0) + src_ip + ip(dst)
    total = sum(struct.unpack("!10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    return (mac(dst) + src_mac + tag + b"\x08\x00" + header + data).hex()


def arp_reply(frame_mac: bytes, claimed_mac: bytes, claimed_ip: bytes, dst: str) -> str:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + claimed_mac + claimed_ip + mac(dst) + ip(dst)
    return (mac(dst) + frame_mac + b"\x08\x06" + body).hex()


FORGERIES: dict[str, tuple[str, str, Callable[[], str]]] = {
    "another's address": ("attacker", "core", lambda: udp(mac("attacker"), ip("client"), "dns", 53)),
    "another's MAC": ("attacker", "core", lambda: udp(mac("client"), ip("attacker"), "dns", 53)),
    "another's address and MAC": ("attacker", "core", lambda: udp(mac("client"), ip("client"), "dns", 53)),
    "a VLAN tag": ("attacker", "core", lambda: udp(mac("attacker"), ip("attacker"), "dns", 53, b"\x81\x00\x00\x01")),
    "IPv6": ("attacker", "core", lambda: (mac("dns") + mac("attacker") + b"\x86\xdd" + b"\x60" + bytes(39)).hex()),
    "ARP as the balancer": (
        "attacker",
        "core",
        lambda: arp_reply(mac("attacker"), mac("attacker"), ip("lb"), "client"),
    ),
    "ARP with another's MAC": (
        "attacker",
        "core",
        lambda: arp_reply(mac("attacker"), mac("lb"), ip("attacker"), "client"),
    ),
    "a server as another": ("srv2", "fw2", lambda: udp(mac("srv2"), ip("srv1"), "lb", 3306)),
    "ARP of a server as another": ("srv3", "fw3", lambda: arp_reply(mac("srv3"), mac("srv3"), ip("srv1"), "lb")),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_senders_are_dropped_where_they_enter_and_counted(bed: RunningTestbed, forgery: str) -> None:
    host, switch, frame = FORGERIES[forgery]
    spoofed = OWN_COOKIES["spoofed"]
    before = bed.packets(switch, spoofed)
    bed.run(host, "python3", "-S", "-c", SEND, host, *[frame()] * 5)
    wait.until(
        lambda: None if bed.packets(switch, spoofed) >= before + 5 else "not counted", what="5 packets", seconds=5
    )


def test_the_same_frames_unforged_arrive(bed: RunningTestbed) -> None:
    """The control for the forgeries: what they are made of passes, and is counted as allowed."""
    before, spoofed = bed.counter("core", "dns-udp"), bed.packets("core", OWN_COOKIES["spoofed"])
    bed.run("attacker", "python3", "-S", "-c", SEND, "attacker", udp(mac("attacker"), ip("attacker"), "dns", 53))
    wait.until(lambda: None if bed.counter("core", "dns-udp") > before else "not counted", what="a packet", seconds=5)
    assert bed.packets("core", OWN_COOKIES["spoofed"]) == spoofed


def test_arp_tables_hold_the_truth(bed: RunningTestbed) -> None:
    bed.run(
        "attacker",
        "python3",
        "-S",
        "-c",
        SEND,
        "attacker",
        arp_reply(mac("attacker"), mac("attacker"), ip("lb"), "client"),
    )
    bed.run("client", "curl", "-sS", "-o", "/dev/null", URL)
    assert f"{PLAN.host('lb').ip} lladdr {PLAN.host('lb').mac}" in bed.run(
        "client", "sh", "-c", "ip neigh | sed 's/ dev [^ ]*//'"
    )


def test_the_switches_hold_exactly_the_compiled_flows(bed: RunningTestbed) -> None:
    golden = PROJECT / "tests" / "golden" / "flows"
    for switch in PLAN.switches:
        done = bed.exec(
            "box", "ovs-ofctl", "-O", "OpenFlow13", "diff-flows", switch.name, str(golden / f"{switch.name}.txt")
        )
        assert (done.returncode, done.stdout) == (0, "")


def test_no_checksum_error_was_seen(bed: RunningTestbed) -> None:
    for host in ("client", "lb", "srv1"):
        counted = dict(line.split()[:2] for line in bed.run(host, "nstat", "-asz").splitlines() if line[0] != "#")
        assert float(counted["TcpInCsumErrors"]) == 0


def test_the_machine_itself_does_not_reach_the_hosts(bed: RunningTestbed) -> None:
    done = subprocess.run(["ip", "route", "get", PLAN.host("lb").ip], capture_output=True, text=True, check=False)
    assert "lb-eth" not in done.stdout
