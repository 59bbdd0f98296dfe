"""The monitoring against ground truth: each source says what was done, to that host, and nothing when nothing was."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from runningtestbed import Commands, RunningTestbed

from topo import wait
from topo.plan import PORTS, SITE

pytestmark = pytest.mark.root
#: a sample a second, pushed within 0.2 s; and the flows' counters lag by half a second
SOON = 6.0
#: requests of the site from the client: method, path, body, as often as said
ASK = f"""
import http.client, json, re, ssl, sys
context = ssl.create_default_context()
token = ''
site = http.client.HTTPSConnection('{SITE}', timeout=20, context=context)
head = {{'Content-Type': 'application/x-www-form-urlencoded', 'Referer': 'https://{SITE}/'}}
for method, path, body, times in json.loads(sys.argv[1]):
    for _ in range(times):
        site.request(method, path, body + token if body else None, head)
        answer = site.getresponse()
        text = answer.read().decode()
        head['Cookie'] = (answer.getheader('Set-Cookie') or head.get('Cookie', '')).partition(';')[0]
        token = ''.join(re.findall('name="csrf_token"[^>]* value="([^"]+)"', text)[:1]) or token
        print(answer.status)
"""
#: so many seconds of processor time, said when they are used; then it stays, so that it can be looked at
BURN = """
import sys, time
while time.process_time() < float(sys.argv[1]): pass
print(time.process_time(), flush=True)
sys.stdin.read()
"""
#: names asked of the resolver: (type, name, times)
RESOLVE = """
import dns.message, dns.query, json, sys
for kind, name, times in json.loads(sys.argv[1]):
    for _ in range(times):
        ask = dns.query.tcp if kind == 'AAAA' else dns.query.udp
        print(ask(dns.message.make_query(name, kind), '10.0.1.53', timeout=5).rcode())
"""
#: the payloads of all that arrives at the monitoring host's port for metrics in two seconds
LISTEN = f"""
import socket, sys, time
listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
listening.bind(('mon-eth0', 3))
listening.settimeout(0.2)
until, seen, words = time.monotonic() + 3, 0, sys.argv[1].encode().split()
found = False
while time.monotonic() < until:
    try:
        packet = listening.recv(65536)
    except TimeoutError:
        continue
    if int.from_bytes(packet[36:38], 'big') == {PORTS["metrics"]}:
        seen += len(packet) > 200
        found = found or any(word in packet for word in words)
print(seen, int(found))
"""


@pytest.fixture(scope="module")
def encrypted(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("encrypted", "--profile", "hardened", "--monitoring", "on")
    shared_commands("down", "encrypted")


def becomes(look: Callable[[], float], right: Callable[[float], bool], what: str, seconds: float = SOON) -> float:
    """The value as soon as it is right; waited for."""
    seen = [0.0]

    def problem() -> str | None:
        seen[0] = look()
        return None if right(seen[0]) else f"{what} is {seen[0]}"

    wait.until(problem, what=what, seconds=seconds)
    return seen[0]


class Growth:
    """The growth of counters since now."""

    def __init__(self, bed: RunningTestbed, *queries: str) -> None:
        self._bed = bed
        self._before = {query: bed.total(query) for query in queries}

    def of(self, query: str) -> float:
        return self._bed.total(query) - self._before[query]

    def becomes(self, query: str, number: float) -> None:
        """Waits until it is exactly that."""
        becomes(lambda: self.of(query), lambda grown: grown == number, f"growth of {query}, which is to be {number},")


def test_every_source_that_must_be_there_answers(bed: RunningTestbed) -> None:
    """And one that is not there is missed."""
    assert bed.total("count(monitoring_expected)") == 19
    becomes(lambda: len(bed.metric("monitoring_expected unless on(host, job) (up == 1)")), lambda n: n == 0, "missing")
    assert bed.total("count(monitoring_expected unless on(host, job) up{job!='db'})") == 3


def test_a_source_that_hangs_is_down_and_takes_no_other_with_it(second: RunningTestbed) -> None:
    up = "up{host='srv3',job='%s'}"
    with second.broken("freeze srv3 db"):
        becomes(lambda: second.total(up % "db"), lambda value: value == 0, "its database")
        for job in ("host", "web", "app"):
            assert second.total(up % job) == 1, job
        assert second.total("up{host='srv2',job='db'}") == 1
    becomes(lambda: second.total(up % "db"), lambda value: value == 1, "its database")


def test_a_client_that_finds_no_room_comes_back_when_there_is_some(second: RunningTestbed) -> None:
    """Nobody takes what it sends, so it is kept on the disk, which is full: it ends itself then."""
    agent = "mon/agent"
    with second.broken("freeze mon metrics"):
        second.exec("mon", "sh", "-c", "cat /dev/zero >/var/lib/filler")
        try:
            becomes(lambda: second.service(agent)["restarts"], lambda count: count > 0, "its restarts", seconds=40)
        finally:
            second.run("mon", "rm", "/var/lib/filler")
    second.becomes_steady(60)


def test_requests_are_counted_exactly_by_path_and_status(bed: RunningTestbed) -> None:
    wrong = "name=nobody&password=not-this-one&csrf_token="
    wanted = {
        ("/messages", "200"): 40,
        ("/login", "200"): 1,
        ("/login", "401"): 7,
        ("other", "404"): 11,
        ("/static/", "200"): 13,
    }
    asked = [
        ("GET", "/messages", "", 40),
        ("GET", "/login", "", 1),
        ("POST", "/login", wrong, 7),
        ("GET", "/no/such", "", 11),
    ]
    asked.append(("GET", "/static/style.css", "", 13))
    web = {key: f"web_requests_total{{path='{key[0]}',status='{key[1]}'}}" for key in wanted}
    application = {key: query.replace("web_", "app_") for key, query in web.items()}
    failed, never = "app_logins_total{result='failed'}", "web_requests_total{path='/signup'}"
    grown = Growth(bed, *web.values(), *application.values(), failed, never)
    statuses = bed.run("client", "python3", "-c", ASK, json.dumps(asked)).split()
    assert sorted(statuses) == sorted(status for (_, status), times in wanted.items() for _ in range(times))
    for key, times in wanted.items():
        grown.becomes(web[key], times)
        grown.becomes(application[key], 0 if key[0] == "/static/" else times)
    grown.becomes(failed, 7)
    assert grown.of(never) == 0


def test_a_hosts_processor_time_is_its_own(bed: RunningTestbed) -> None:
    cpu = {host: f"host_cpu_seconds_total{{host='{host}'}}" for host in ("srv1", "srv2")}
    grown = Growth(bed, *cpu.values())
    argv = bed.commands.argv("exec", "--name", bed.name, "srv1", "--", "python3", "-c", BURN, "4")
    with subprocess.Popen(
        argv, env=bed.commands.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as burner:
        assert burner.stdin is not None
        assert burner.stdout is not None
        burnt = float(burner.stdout.readline())
        becomes(lambda: grown.of(cpu["srv1"]), lambda seconds: seconds >= burnt * 0.95, "processor time")
        ours, others = grown.of(cpu["srv1"]), grown.of(cpu["srv2"])
        burner.stdin.close()
    # the other server does the same work beside
    assert ours - others == pytest.approx(burnt, rel=0.05)
    assert others < burnt / 4
    ended = bed.total(cpu["srv1"])
    assert ended >= ours  # what a process has used stays counted when it is gone


def test_bytes_and_packets_are_those_of_the_interface(bed: RunningTestbed) -> None:
    """The switch counts the same packets at its end of the link."""
    sent = {
        host: f"host_network_transmit_packets_total{{host='{host}',interface='{host}-eth0'}}" for host in ("lb", "dns")
    }
    received, port = "host_network_receive_bytes_total{host='client'}", _port(bed, "lb-eth0")
    grown, before = Growth(bed, *sent.values(), received), port()
    bed.run("client", "python3", "-c", ASK, json.dumps([("GET", "/static/style.css", "", 300)]))
    at_the_switch = port() - before
    assert at_the_switch > 300
    becomes(lambda: grown.of(sent["lb"]), lambda packets: packets >= at_the_switch * 0.97, "packets sent")
    assert grown.of(sent["lb"]) < at_the_switch * 1.5
    assert grown.of(sent["dns"]) < at_the_switch / 4
    assert bed.metric(received) == {}  # it is not watched


def _port(bed: RunningTestbed, interface: str) -> Callable[[], int]:
    """The packets that have come to a switch from a host's interface."""
    number = {"lb-eth0": "4"}[interface]

    def packets() -> int:
        dumped = bed.run("box", "ovs-ofctl", "-O", "OpenFlow13", "dump-ports", "core", number)
        return int(re.findall(r"rx pkts=(\d+)", dumped)[0])

    return packets


def test_replication_that_stops_is_seen_at_both_threads(second: RunningTestbed) -> None:
    threads = "db_replication_{}{{host='{}'}}"
    second.sql("srv2", "STOP SLAVE")
    try:
        for thread in ("receiving", "applying"):
            becomes(lambda at=thread: second.total(threads.format(at, "srv2")), lambda value: value == 0, thread)  # type: ignore[misc]
            assert second.total(threads.format(thread, "srv3")) == 1
            assert second.metric(threads.format(thread, "srv1")) == {}  # a primary has none
    finally:
        second.sql("srv2", "START SLAVE")
    becomes(lambda: second.total(threads.format("receiving", "srv2")), lambda value: value == 1, "receiving")
    assert second.metric("db_writable == 1").keys() == second.metric("db_writable{host='srv1'}").keys()


def test_dns_is_counted_by_type_and_answer(bed: RunningTestbed) -> None:
    asked = [("A", SITE, 20), ("MX", f"no-such.{SITE}", 5), ("AAAA", SITE, 3)]
    queries = {kind: f"dns_queries_total{{type='{kind}'}}" for kind in ("MX", "TXT")}
    unknown = "dns_answers_total{code='NXDOMAIN'}"
    grown = Growth(bed, *queries.values(), unknown, "dns_queries_total{type='AAAA'}")
    codes = bed.run("client", sys.executable, "-c", RESOLVE, json.dumps(asked)).split()
    assert codes == ["0"] * 20 + ["3"] * 5 + ["0"] * 3
    grown.becomes(queries["MX"], 5)
    grown.becomes(unknown, 5)
    assert grown.of("dns_queries_total{type='AAAA'}") >= 3
    assert grown.of(queries["TXT"]) == 0
    assert bed.total("dns_packets_missed_total") == 0


def test_a_denied_packet_is_counted_by_rule_and_source(bed: RunningTestbed) -> None:
    by_rule = "firewall_packets_total{rule='deny-rest',action='deny'}"
    by_source = "firewall_denied_total{rule='deny-rest',src='attacker'}"
    allowed, spoofed = "firewall_packets_total{rule='site-https',action='allow'}", "firewall_spoofed_total"
    grown = Growth(bed, by_rule, by_source, allowed, spoofed)
    assert bed.connects("attacker", "10.0.2.10", 443)
    becomes(lambda: grown.of(allowed), lambda packets: packets > 0, "packets allowed")
    assert grown.of(by_source) == 0
    assert not bed.connects("attacker", "10.0.3.11", 3306)
    becomes(lambda: grown.of(by_rule), lambda packets: packets > 0, "packets denied")
    becomes(lambda: grown.of(by_source), lambda packets: packets > 0, "samples of packets denied")
    assert grown.of(spoofed) == 0
    assert bed.total("firewall_controller_up") == 1


def test_a_fault_in_force_is_published_until_it_is_healed(second: RunningTestbed) -> None:
    fault = "testbed_fault{kind='kill',target='srv3',what='web'}"
    assert second.metric("testbed_fault") == {}
    with second.broken("kill srv3 web"):
        becomes(lambda: second.total(fault), lambda value: value == 1, "the fault")
    becomes(lambda: len(second.metric("testbed_fault")), lambda count: count == 0, "faults")


def test_what_is_pushed_is_encrypted_and_proved(bed: RunningTestbed, encrypted: RunningTestbed) -> None:
    becomes(lambda: encrypted.total("count(up == 1)"), lambda count: count == 20, "sources")
    words = "clock packets interface mount srv1"  # compressed, but each is somewhere for the first time
    readable = {each.name: readable_in_pushes(each, words) for each in (bed, encrypted)}
    assert readable == {bed.name: True, encrypted.name: False}
    refused = "import urllib.request, ssl; c = ssl.create_default_context(cafile='/run/vmagent/ca.pem'); {}"
    ask = "urllib.request.urlopen('https://mon:9090/api/v1/query?query=up', context=c).read()"
    proved = "c.load_cert_chain('/run/vmagent/client.pem', '/run/vmagent/client.pem.key'); "
    for host in ("mon", "srv1"):
        stranger = encrypted.exec(host, "python3", "-c", refused.format(ask))
        assert stranger.returncode != 0
        assert re.search("bad.certificate|certificate.required", stranger.stderr.lower()), stranger.stderr
        encrypted.run(host, "python3", "-c", refused.format(proved + ask))
    plain = encrypted.exec(
        "mon", "python3", "-c", ask.replace("https", "http").join(("import urllib.request; c = None; ", ""))
    )
    assert plain.returncode != 0


def readable_in_pushes(bed: RunningTestbed, words: str) -> bool:
    """True if one of some words is readable in what clients push."""
    packets, found = bed.run("mon", "python3", "-c", LISTEN, words).split()
    assert int(packets) > 5
    return found == "1"
