"""The sources of metrics, each with recorded inputs, and the server that answers for them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pymysql
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes import FakePlace
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from controllers import jsonsocket, policycounters
from controllers.ovs import flowcounters
from controllers.ovs.flowcounters import FlowCount
from controllers.policycounters import PolicyCounters
from services.monitoring import certificates, databasestatus, dnscounts, metric
from services.monitoring.databasestatus import DatabaseStatus
from services.monitoring.detectionstatus import DetectionStatus
from services.monitoring.exporterserver import ExporterServer
from services.monitoring.failoverstatus import FailoverStatus
from services.monitoring.firewallcounts import FirewallCounts
from services.monitoring.hostusage import HostUsage, ProcessTable
from services.monitoring.metric import COUNTER, HISTOGRAM, Durations, Metric, Rising, Source
from services.monitoring.testbedstate import STATE, TestbedState
from services.pki import Authority
from testbed.active import ActiveFaults
from testbed.publication import Publication
from topo.errors import RefusedError
from topo.plan import plan as plan_of
from topo.profile import Profile

Values = dict[tuple[str, ...], float]


def values(source: Source) -> Values:
    """By name and labels."""
    return {(each.name, *sample.labels): sample.value for each in source.metrics() for sample in each.samples}


# --- text ----------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.tuples(st.text(max_size=4), st.text(max_size=2)), st.integers(0, 2**60), max_size=3))
def test_text_is_read_as_it_was_meant(counts: dict[tuple[str, ...], int]) -> None:
    """By another's parser; a label may be any text."""
    text = metric.counters("asked_total", ("path", "status"), counts).text()
    rows = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {(row.labels["path"], row.labels["status"]): row.value for row in rows} == counts


def test_durations_are_a_histogram() -> None:
    durations, histogram = Durations((0.1, 1.0)), Metric("took_seconds", HISTOGRAM, ("path",))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        durations.add(seconds)
    histogram.samples.extend(durations.samples("/"))
    (family,) = text_string_to_metric_families(histogram.text())
    assert {(row.name, row.labels.get("le")): row.value for row in family.samples} == {
        ("took_seconds_bucket", "0.1"): 2,
        ("took_seconds_bucket", "1.0"): 3,
        ("took_seconds_bucket", "+Inf"): 4,
        ("took_seconds_sum", None): pytest.approx(7.65),
        ("took_seconds_count", None): 4,
    }


@given(st.lists(st.integers(0, 100)))
def test_a_sum_of_parts_that_may_go_never_falls(numbers: list[int]) -> None:
    rising = Rising[str]()
    sums = [rising("a", number) for number in numbers]
    assert sums == sorted(sums)
    grown = sum(max(after - before, 0) for before, after in pairwise(numbers))
    assert not sums or sums[-1] == numbers[0] + grown


# --- the server ----------------------------------------------------------------------------------------------------


class FakeSource:
    """Says one, fails, or hangs until it is let go."""

    def __init__(self, does: Callable[[], object] = lambda: None) -> None:
        self._does = does

    def metrics(self) -> Iterator[Metric]:
        self._does()
        yield metric.value("one", 1)


@contextmanager
def served(sources: Mapping[str, Source]) -> Iterator[http.client.HTTPConnection]:
    with ExporterServer(("127.0.0.1", 0), sources) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=5)  # type: ignore[misc]
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()


def answer(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path)
    said = connection.getresponse()
    return said.status, said.read().decode()


def test_one_source_that_hangs_or_fails_takes_no_other_with_it() -> None:
    let_go, hangs = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        let_go.wait(5)

    def fail() -> None:
        raise OSError("no such daemon")

    sources = {"good": FakeSource(), "bad": FakeSource(fail), "hung": FakeSource(hang)}
    with served(sources) as connection:
        first = socket.create_connection((connection.host, connection.port), 5)
        first.sendall(b"GET /hung HTTP/1.1\r\n\r\n")
        assert hangs.wait(5)
        threads = threading.active_count()
        for _ in range(20):  # over one connection, which is kept
            assert answer(connection, "/hung") == (503, "it is still looking\n")
        assert threading.active_count() <= threads + 1
        assert answer(connection, "/good")[0] == 200
        assert answer(connection, "/bad") == (500, "OSError: no such daemon\n")
        assert answer(connection, "/unknown")[0] == 404
        let_go.set()
        with first:
            assert first.recv(12) == b"HTTP/1.1 200"


def test_what_is_no_request_ends_its_connection() -> None:
    with served({"good": FakeSource()}) as connection:
        with socket.create_connection((connection.host, connection.port), 5) as stranger:
            stranger.sendall(b"\xff\xfe\x00\r\n\r\n")
            assert stranger.recv(10) == b""
        assert answer(connection, "/good")[0] == 200


# --- a host's use --------------------------------------------------------------------------------------------------


class FakeProc:
    """/proc of a host, of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "net").mkdir()
        lines = ["Inter-|", " face |", "    lo:  10 1 0 0 0 0 0 0  10 1 0 0 0 0 0 0"]
        lines.append("srv1-eth0: 70 5 0 0 0 0 0 0 900 8 0 0 0 0 0 0")
        (folder / "net" / "dev").write_text("\n".join(lines) + "\n")

    def run(self, pid: int, parent: int, cpu: int, *, children: int = 0, written: int = 0, began: int = 1) -> None:
        place = self.folder / str(pid)
        (place / "fd").mkdir(parents=True, exist_ok=True)
        fields = ["S", parent, pid, pid, *[0] * 7, cpu, 0, children, 0, *[0] * 4, began]
        (place / "stat").write_text(f"{pid} (a) b) {' '.join(map(str, fields))}\n")
        names = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes")
        numbers = {**dict.fromkeys(names, 0), "write_bytes": written}
        (place / "io").write_text("".join(f"{name}: {number}\n" for name, number in numbers.items()))
        (place / "smaps_rollup").write_text("0-1 ---p 0 00:00 0 [rollup]\nRss: 90 kB\nPss: 30 kB\nPss_Dirty: 9 kB\n")

    def end(self, pid: int) -> None:
        shutil.rmtree(self.folder / str(pid))


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


def test_a_host_uses_what_its_processes_and_interfaces_do(proc: FakeProc) -> None:
    proc.run(1, 0, 20)
    proc.run(7, 0, 100, children=50, written=4096)
    said = values(HostUsage(["/tmp", "/no/such"], [], {}, str(proc.folder)))
    assert said["host_cpu_seconds_total",] == pytest.approx(1.7)
    assert said["host_memory_pss_bytes",] == 60 * 1024
    assert said["host_processes",] == 2
    assert said["host_disk_written_bytes_total",] == 4096
    assert said["host_network_transmit_bytes_total", "srv1-eth0"] == 900
    assert said["host_network_receive_packets_total", "srv1-eth0"] == 5
    assert said["host_filesystem_size_bytes", "/tmp"] > said["host_filesystem_free_bytes", "/tmp"]
    assert ("host_filesystem_size_bytes", "/no/such") not in said
    assert abs(said["host_clock_seconds",] - time.time()) < 5


def test_what_a_process_has_used_is_counted_once_when_it_has_gone(proc: FakeProc) -> None:
    usage = HostUsage([], [], {}, str(proc.folder))
    seen = []
    for do in (
        lambda: (proc.run(1, 0, 0), proc.run(5, 0, 100), proc.run(6, 5, 30)),
        lambda: (proc.end(6), proc.run(5, 0, 100, children=40)),  # waited for, after a last look at 0.3 s
        lambda: (proc.end(5), proc.run(1, 0, 20)),  # started from outside: counted by nobody on this host
        lambda: proc.run(5, 0, 10, began=2),
        lambda: (proc.end(5), proc.run(5, 0, 30, began=3)),  # another one of the same number
    ):
        do()
        seen.append(round(values(usage)["host_cpu_seconds_total",], 2))
    assert seen == [1.3, 1.4, 1.6, 1.7, 2.0]


def test_a_childs_end_that_its_parent_did_not_count_makes_nothing_fall(proc: FakeProc) -> None:
    usage = HostUsage([], [], {}, str(proc.folder))
    proc.run(1, 0, 0)
    proc.run(6, 1, 30)
    first = values(usage)["host_cpu_seconds_total",]
    proc.end(6)
    assert values(usage)["host_cpu_seconds_total",] == first
    proc.run(1, 0, 10)
    assert values(usage)["host_cpu_seconds_total",] == pytest.approx(first + 0.1)


def test_memory_is_asked_of_each_process_in_turn(proc: FakeProc) -> None:
    table = ProcessTable(str(proc.folder))
    for pid in range(1, 9):
        proc.run(pid, 0, 0)
    table.look()
    for pid in range(1, 9):
        (proc.folder / str(pid) / "smaps_rollup").write_text("x\nPss: 1 kB\n")
    changed = []
    for _ in range(8):
        table.look()
        changed.append(sum(process.pss == 1024 for process in table.now.values()))
    assert changed == list(range(1, 9))


# --- certificates --------------------------------------------------------------------------------------------------


def test_the_end_of_a_certificate_is_read_from_its_bytes(tmp_path: Path) -> None:
    authority = Authority()
    bundle = authority.issue("srv1").bundle
    (tmp_path / "server.pem").write_text(bundle)
    ends = [
        certificate.not_valid_after_utc.timestamp()
        for certificate in x509.load_pem_x509_certificates((bundle + authority.certificate).encode())
    ]
    assert certificates.end(str(tmp_path / "server.pem")) in ends
    assert certificates.earliest((bundle + authority.certificate).encode()) == min(ends)
    assert min(ends) > (datetime.now(timezone.utc) + timedelta(days=1)).timestamp()


def test_no_link_is_followed_to_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "real.pem").write_text(Authority().certificate)
    (tmp_path / "link.pem").symlink_to(tmp_path / "real.pem")
    (tmp_path / "text.pem").write_text("none")
    os.mkfifo(tmp_path / "pipe.pem")
    names = [str(tmp_path / f"{name}.pem") for name in ("real", "link", "text", "pipe", "missing")]
    ends = HostUsage([], names)._ends()
    assert [sample.labels for sample in ends.samples] == [(names[0],)]


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_are_too_strange_for_a_certificate(junk: bytes, at: int, byte: int) -> None:
    der = bytearray(x509.load_pem_x509_certificate(CERTIFICATE.encode()).public_bytes(Encoding.DER))
    der[at % len(der)] = byte
    for content in (junk, bytes(der), bytes(der[:at])):
        try:
            certificates.not_after(content)
        except ValueError:
            continue


CERTIFICATE = Authority().certificate


# --- databases -----------------------------------------------------------------------------------------------------

STATES = {
    "QUESTIONS": "92",
    "THREADS_CONNECTED": "3",
    "RPL_SEMI_SYNC_MASTER_CLIENTS": "2",
    "RPL_SEMI_SYNC_MASTER_WAIT_SESSIONS": "1",
    "RPL_SEMI_SYNC_MASTER_STATUS": "ON",
    "WSREP_READY": "OFF",
    "WSREP_LAST_COMMITTED": "18446744073709551615",
    "READ_ONLY": "0",
    "CLUSTER": "0",
    "LOCK_WAIT": "1500.250",
    "APPLIED": "0-1-41",
    "LOGGED": "0-1-41,1-9-7",
}
CHANNEL = {
    "Connection_name": "",
    "Slave_IO_Running": "Yes",
    "Slave_SQL_Running": "Yes",
    "Last_IO_Errno": 0,
    "Seconds_Behind_Master": 0,
}


def of_database(states: Mapping[str, str], channel: Mapping[str, Any]) -> dict[str, float]:
    told = (*databasestatus.server(states), *databasestatus.replica(channel))
    return {each.name: each.samples[0].value for each in told}


def test_a_primary_says_that_it_takes_writes_and_follows_none() -> None:
    assert of_database(STATES, {}) == {
        "db_queries_total": 92,
        "db_connections": 3,
        "db_writable": 1,
        "db_lock_wait_seconds": 1.50025,
        "db_gtid_sequence": 41,
        "db_semisync_on": 1,
        "db_semisync_replicas": 2,
        "db_semisync_waiting": 1,
    }


@pytest.mark.parametrize(
    ("changed", "receiving", "applying", "lag", "diverged"),
    [
        ({}, 1, 1, 0, 0),
        ({"Slave_IO_Running": "No", "Seconds_Behind_Master": None}, 0, 1, None, 0),
        ({"Slave_IO_Running": "Connecting", "Seconds_Behind_Master": None}, 0, 1, None, 0),
        ({"Slave_SQL_Running": "No", "Seconds_Behind_Master": None}, 1, 0, None, 0),
        ({"Slave_IO_Running": "No", "Last_IO_Errno": 1236, "Seconds_Behind_Master": None}, 0, 1, None, 1),
        ({"Seconds_Behind_Master": 7}, 1, 1, 7, 0),
    ],
)
def test_a_replica_says_how_it_follows(
    changed: dict[str, Any], receiving: int, applying: int, lag: int | None, diverged: int
) -> None:
    told = of_database({**STATES, "READ_ONLY": "1"}, {**CHANNEL, **changed})
    assert told["db_writable"] == 0
    assert (told["db_replication_receiving"], told["db_replication_applying"]) == (receiving, applying)
    assert (told.get("db_replication_lag_seconds"), told["db_gtid_diverged"]) == (lag, diverged)


def test_one_of_a_cluster_takes_writes_when_it_is_ready() -> None:
    states = {**STATES, "CLUSTER": "1", "WSREP_LAST_COMMITTED": "12"}
    assert of_database(states, {})["db_writable"] == 0
    told = of_database({**states, "WSREP_READY": "ON"}, {})
    assert (told["db_writable"], told["db_gtid_sequence"]) == (1, 12)


def test_a_database_that_hangs_is_down_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "mysqld.sock"))
        silent.listen()
        status = DatabaseStatus(str(tmp_path / "mysqld.sock"), "secret")
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises((pymysql.Error, OSError)):
                list(status.metrics())
            assert time.monotonic() - began < 0.45


# --- DNS -----------------------------------------------------------------------------------------------------------


def udp(payload: bytes, src: int, dst: int) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0, b"\x0a\0\1\x0a", b"\x0a\0\1\x35")
    return head + struct.pack("!4H", src, dst, 8 + len(payload), 0) + payload


def tcp(payload: bytes, src: int, dst: int) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 1, 0, 64, 6, 0, b"\x0a\0\1\x0a", b"\x0a\0\1\x35")
    return head + struct.pack("!HHIIBBHHH", src, dst, 1, 1, 0x50, 0x18, 100, 0, 0) + payload


@pytest.mark.parametrize("kind", ["A", "AAAA", "MX", "PTR", "HTTPS"])
@pytest.mark.parametrize("over", [udp, tcp])
def test_queries_and_answers_are_told_apart(kind: str, over: Callable[[bytes, int, int], bytes]) -> None:
    query = dns.message.make_query("www.foobar.com", kind)
    reply = dns.message.make_response(query)
    reply.set_rcode(dns.rcode.NXDOMAIN)
    asked, said = query.to_wire(), reply.to_wire()
    if over is tcp:
        asked, said = (len(asked).to_bytes(2, "big") + asked, len(said).to_bytes(2, "big") + said)
    assert dnscounts.parsed(over(asked, 40000, 53), 53) == (False, kind)
    assert dnscounts.parsed(over(said, 53, 40000), 53) == (True, "NXDOMAIN")
    assert dnscounts.parsed(over(asked, 53, 40000), 53) is None  # a question from the resolver's port
    if over is tcp:
        assert dnscounts.parsed(over(asked[:-1], 40000, 53), 53) is None  # a part of a message
        assert dnscounts.parsed(over(b"", 40000, 53), 53) is None


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_no_packet_is_too_strange(packet: bytes, payload: bytes) -> None:
    for each in (packet, udp(payload, 40000, 53), tcp(payload, 53, 40000)):
        seen = dnscounts.parsed(each, 53)
        assert seen is None or seen.name in {*dnscounts.TYPES.values(), *dnscounts.CODES.values(), dnscounts.OTHER}


# --- firewalls -----------------------------------------------------------------------------------------------------


def flow(cookie: int, packets: int, more: int = 0, match: bytes = b"") -> bytes:
    """The statistics of one flow; ``more`` bytes of actions."""
    more, match = more + len(match), match + b"\1" * more
    return struct.pack("!HBxIIHHHHxxxxQQQ", 48 + more, 0, 1, 0, 100, 0, 0, 0, cookie, packets, 900) + match


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", 4, kind, 8 + len(body), 0) + body


def statistics(*flows: bytes, more: bool) -> bytes:
    return message(19, struct.pack("!HHxxxx", 1, int(more)) + b"".join(flows))


#: in_port 2, an Ethernet type, UDP, from 10.0.1.66 to 10.0.2.10
MATCH = bytes.fromhex("00010000 8000000400000002 80000a020800 8000140111 800016040a000142 800018040a00020a")
RECORDED = (
    message(0, b"")
    + message(2, b"echo")
    + statistics(flow(7, 5, 24), flow(7, 6), flow(1001, 2), more=True)
    + statistics(flow(9, 1, 8), flow(7, 4, match=MATCH), more=False)
)


@given(st.integers(1, 50))
def test_packets_are_counted_however_bytes_arrive(size: int) -> None:
    pieces = iter([RECORDED[at : at + size] for at in range(0, len(RECORDED), size)])
    counts = flowcounters.counted(lambda _: next(pieces, b""))
    assert [count[:2] for count in counts] == [(7, 5), (7, 6), (1001, 2), (9, 1), (7, 4)]
    assert [count[2:] for count in counts] == [(None,) * 4] * 4 + [(2, "10.0.1.66", "10.0.2.10", 17)]


@pytest.mark.parametrize("said", [RECORDED[:-1], b"", message(1, b"\0\1\0\2")])
def test_an_answer_that_is_none_is_refused(said: bytes) -> None:
    pieces = iter([said])
    with pytest.raises(OSError, match=r"hung up|error 00010002"):
        flowcounters.counted(lambda _: next(pieces, b""))


class FakeDesired:
    plan = plan_of(Profile())
    counted = {1: ("web", "allow"), 2: ("deny-rest", "deny")}  # noqa: RUF012
    switches = {"1": "core", "2": "fw1"}  # noqa: RUF012


def test_rules_are_counted_by_name_and_seldom_where_that_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks, changes = [100.0], Counter[str](), [0]

    def packets(switch: str, _: object) -> list[FlowCount]:
        looks[switch] += 1
        now[0] += 0.1
        if switch == "fw1":
            raise RefusedError("switch fw1 does not answer")
        return [FlowCount(cookie, met, None, None, None) for cookie, met in ((1, 5), (2, looks[switch]), (3, 9))]

    monkeypatch.setattr(policycounters.flowcounters, "flow_counts", packets)
    counters = PolicyCounters(FakeDesired(), lambda: changes[0], clock=lambda: now[0], cpu=lambda: now[0])  # type: ignore[arg-type]
    told = {"switches": {"core": {"web": 5, "deny-rest": 1}}, "actions": {"web": "allow", "deny-rest": "deny"}}
    assert told.items() <= counters.ask().items()
    now[0] = 105.0
    assert told.items() <= counters.ask().items()  # 0.2 s were spent: 10 s must pass
    now[0] = 110.1
    assert counters.ask()["switches"]["core"]["deny-rest"] == 2
    now[0] = 130.0
    seen = iter([7, 8])
    counters = PolicyCounters(FakeDesired(), lambda: next(seen), clock=lambda: now[0], cpu=lambda: now[0])  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="being replaced"):
        counters.ask()


def listening(path: Path, handlers: Mapping[str, Callable[..., Any]]) -> None:
    """A process that answers requests on a socket."""
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        jsonsocket.serve(taken.detach(), handlers)


DENIAL = {"time": 1.0, "switch": "fw1", "rule": "deny-rest", "src": "attacker", "dst": "srv1", "proto": "tcp"}


def test_firewalls_are_told_by_rule_source_port_and_fence(tmp_path: Path) -> None:
    counted = {"switches": {"fw1": {"web": 5, "deny-rest": 9}}, "actions": {"web": "allow", "deny-rest": "deny"}}
    told: dict[str, Any] = {"overlays": [{"name": "fence srv1"}, {"name": "black-hole srv2 lb"}]}
    listening(tmp_path / "northbound.sock", {"overlays": lambda: told, "counters": lambda: counted})
    rows = [DENIAL, {**DENIAL, "src": "203.0.113.7"}, {**DENIAL, "rule": None}, [], {"switch": 1}]
    rows.append({**DENIAL, "rule": "spoofed", "src": "srv1", "in_port": 3})
    lines = [json.dumps({**row, "in_port": row.get("in_port", 1)} if isinstance(row, dict) else row) for row in rows]
    (tmp_path / "denied.jsonl").write_text("\n".join([*lines, "no json", ""]))
    source = FirewallCounts(["attacker", "srv1"], str(tmp_path / "denied.jsonl"), str(tmp_path / "northbound.sock"))
    assert values(source) == {
        ("firewall_denied_total", "fw1", "deny-rest", "attacker"): 1,
        ("firewall_denied_total", "fw1", "deny-rest", "other"): 1,
        ("firewall_denied_total", "fw1", "", "attacker"): 1,
        ("firewall_denied_total", "fw1", "spoofed", "other"): 1,
        ("firewall_spoofed_total", "fw1", "3"): 1,
        ("firewall_controller_up",): 1,
        ("firewall_fence", "srv1"): 1,
        ("firewall_packets_total", "fw1", "web", "allow"): 5,
        ("firewall_packets_total", "fw1", "deny-rest", "deny"): 9,
    }
    counted["switches"] = {"fw1": {"web": 2, "deny-rest": 11}}  # flows of "web" went, and their packets with them
    after = values(source)
    assert after["firewall_packets_total", "fw1", "web", "allow"] == 5
    assert after["firewall_packets_total", "fw1", "deny-rest", "deny"] == 11


def test_a_controller_that_is_silent_is_down_and_denials_are_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "denied.jsonl").write_text(json.dumps({**DENIAL, "in_port": 1}) + "\n")
    source = FirewallCounts(["attacker"], str(tmp_path / "denied.jsonl"), str(tmp_path / "northbound.sock"))
    assert values(source)["firewall_controller_up",] == 0
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(tmp_path / "northbound.sock"))
        frozen.listen()
        began = time.monotonic()
        told = values(source)
        assert time.monotonic() - began < 0.45
    assert told["firewall_controller_up",] == 0
    assert told["firewall_denied_total", "fw1", "deny-rest", "attacker"] == 1


# --- failover manager and testbed ----------------------------------------------------------------------------------


def test_the_sentinel_says_itself_what_it_has_found(tmp_path: Path) -> None:
    told = {"contacts": 9, "detections": {"scan": 1, "flood": 0}, "cpu_s": 0.5, "memory_bytes": 21_000_000}
    source = DetectionStatus(str(tmp_path / "detection.sock"))
    with pytest.raises(RefusedError, match="the sentinel does not answer"):
        values(source)
    listening(tmp_path / "detection.sock", {"status": lambda: told})
    assert values(source) == {
        ("detection_contacts_total",): 9,
        ("detection_detections_total", "scan"): 1,
        ("detection_detections_total", "flood"): 0,
        ("detection_cpu_seconds_total",): 0.5,
        ("detection_memory_bytes",): 21_000_000,
    }


def test_the_failover_manager_is_asked_itself(tmp_path: Path) -> None:
    source = FailoverStatus(str(tmp_path / "failover.sock"))
    with pytest.raises(RefusedError):
        values(source)
    seen = {"primary": "srv2", "settled": True, "ages": {"srv1": 1.5, "srv2": 0.02}}
    listening(tmp_path / "failover.sock", {"observation": lambda: seen})
    assert values(source) == {
        ("failover_primary", "srv1"): 0,
        ("failover_primary", "srv2"): 1,
        ("failover_observation_age_seconds", "srv1"): 1.5,
        ("failover_observation_age_seconds", "srv2"): 0.02,
        ("failover_settled",): 1,
    }


def test_the_testbed_publishes_faults_and_phases_as_they_change(tmp_path: Path) -> None:
    place = FakePlace(tmp_path)
    (tmp_path / "run").mkdir()
    faults = ActiveFaults(lambda: publication.write())
    publication = Publication(lambda: place, lambda: [row["fault"] for row in faults.status()])
    source = TestbedState(str(place.path(STATE)))
    assert values(source) == {}
    with faults.noted("kill srv1 web"), faults.noted("off mon"):
        assert values(source) == {("testbed_fault", "kill", "srv1", "web"): 1, ("testbed_fault", "off", "mon", ""): 1}
    assert values(source) == {}
    publication.measure("journey", "visit")
    assert values(source) == {("testbed_experiment", "journey", "visit"): 1}
    publication.measure("")
    assert values(source) == {}


def test_what_is_published_follows_no_link_of_a_hosts_root(tmp_path: Path) -> None:
    place = FakePlace(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "testbed").symlink_to(tmp_path / "elsewhere")
    Publication(lambda: place, lambda: ["kill srv1 web"]).write()
    assert os.listdir(tmp_path / "elsewhere") == []


def test_every_counter_is_called_total() -> None:
    assert metric.value("host_cpu_seconds_total", 1, COUNTER).text().startswith("# TYPE host_cpu_seconds_total counter")
