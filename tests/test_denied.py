"""A sample's bytes become an event, whatever they are; the file of events is whole, in order, and bounded."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.denied import Denied, Headers, before, event, note, parse, read

MACS = bytes.fromhex("02000000030b020000000142")
HOSTS = {"10.0.1.66": "attacker", "10.0.3.11": "srv1"}


def ipv4(proto: int, payload: bytes, *, fragment: int = 0, options: bytes = b"", tags: bytes = b"") -> bytes:
    size = (20 + len(options)) // 4
    head = bytes([0x40 | size, 0, 0, 40, 0, 0, fragment >> 8, fragment & 255, 64, proto, 0, 0])
    return MACS + tags + b"\x08\x00" + head + bytes([10, 0, 1, 66, 10, 0, 3, 11]) + options + payload


TCP = bytes.fromhex("9c40 0cea 00000001 00000000 5002 ffff 0000 0000".replace(" ", ""))
ARP = bytes.fromhex("0806 0001 0800 06 04 0001 020000000142 0a000142 000000000000 0a00030b".replace(" ", ""))


@pytest.mark.parametrize(
    ("frame", "proto", "port"),
    [
        (ipv4(6, TCP), "tcp", 3306),
        (ipv4(6, TCP, options=b"\x01" * 40), "tcp", 3306),
        (ipv4(6, TCP, tags=bytes.fromhex("8100000588a80006")), "tcp", 3306),
        (ipv4(17, bytes.fromhex("9c4000350008 0000".replace(" ", ""))), "udp", 53),
        (ipv4(1, bytes.fromhex("0d000000")), "icmp", 13),
        (ipv4(47, b"\0" * 8), "47", None),
        (ipv4(6, TCP, fragment=0x2000), "tcp", 3306),  # the first fragment has the ports
        (ipv4(6, TCP, fragment=0x2001), "tcp", None),  # a later one has not
        (ipv4(6, TCP[:3]), "tcp", None),
        (ipv4(1, b""), "icmp", None),
        (MACS + ARP, "arp", None),
    ],
)
def test_headers(frame: bytes, proto: str, port: int | None) -> None:
    assert parse(frame) == Headers("10.0.1.66", "10.0.3.11", proto, port)


@pytest.mark.parametrize(
    ("frame", "proto"),
    [
        (MACS + bytes.fromhex("86dd6000"), "0x86dd"),
        (MACS + b"\x08\x00\x45", "0x0800"),
        (MACS + ARP[:20], "0x0806"),
        (MACS, "0x0000"),
    ],
)
def test_what_has_no_addresses_is_told_by_its_macs(frame: bytes, proto: str) -> None:
    assert parse(frame) == Headers("02:00:00:00:01:42", "02:00:00:00:03:0b", proto)


@given(st.binary(max_size=128))
def test_any_bytes_become_headers(frame: bytes) -> None:
    for each in (frame, MACS + b"\x08\x00" + frame, MACS + b"\x08\x06" + frame, MACS + b"\x81\x00" * 9 + frame):
        said = parse(each)
        assert said.port is None or 0 <= said.port <= 0xFFFF


def test_an_event_names_rule_and_hosts() -> None:
    found = event(5.25, "fw1", "deny-rest", 1, ipv4(6, TCP), HOSTS)
    assert found == Denied(5.25, "fw1", "deny-rest", "attacker", "srv1", "tcp", 3306, 1)
    assert found.text() == "attacker -> srv1 tcp/3306: denied by deny-rest on fw1"
    stranger = event(5.25, "core", None, 2, ipv4(47, b""), {})
    assert stranger.text() == "10.0.1.66 -> 10.0.3.11 47: denied by a rule on core"


def some(time: float) -> Denied:
    return Denied(time, "fw1", "deny-rest", "attacker", "srv1", "tcp", 1, 1)


def test_the_file_is_bounded_and_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "denied.jsonl"
    size = len(json.dumps(asdict(some(1000.5)))) + 1
    for number in range(35):
        note(path, some(1000.5 + number), most_bytes=10 * size)
    assert [each["time"] for each in read(path)] == [1000.5 + number for number in range(20, 35)]
    assert before(path).stat().st_size == 10 * size
    assert [each["time"] for each in read(path, after=1032.5)] == [1033.5, 1034.5]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["denied.jsonl", "denied.jsonl.1"]


def test_a_line_that_is_not_whole_is_left(tmp_path: Path) -> None:
    path = tmp_path / "denied.jsonl"
    note(path, some(1.0))
    note(path, some(2.0))
    with path.open("a") as stream:
        stream.write('{"time": 3.0, "swi')  # being written now, or torn by a kill
        stream.flush()
        assert [each["time"] for each in read(path)] == [1.0, 2.0]


def test_nothing_was_written_yet(tmp_path: Path) -> None:
    assert list(read(tmp_path / "denied.jsonl")) == []
