"""The frames of a sweep are those that Scapy would craft one by one, and are found again in a capture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pcaps import pcap
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP

from experiments.firewall_matrix.answers import COUNTS, KINDS
from experiments.firewall_matrix.sweepframes import FORMS, LENGTH, SOURCE_PORT, frames, intervals, read
from topo.plan import plan
from topo.profile import SEED

PLAN = plan(SEED)
ATTACKER, SRV1, LB = PLAN.host("attacker"), PLAN.host("srv1"), PLAN.host("lb")
INIT = 1  # a chunk of SCTP
FIELDS = {"tcp": (TCP, "dport"), "udp": (UDP, "dport"), "icmp": (ICMP, "type"), "ip": (IP, "proto")}

MADE = {kind: frames(ATTACKER, SRV1, kind, 4242) for kind in KINDS}


def write(file: Path, *parts: Any) -> int:
    """Frames as a capture; returns how many."""
    made = [frame.tobytes() for part in parts for frame in part]
    file.write_bytes(pcap(made))
    return len(made)


def recomputed(frame: bytes, kind: str) -> bytes:
    """What Scapy makes of a frame when it computes its checksums itself."""
    packet = Ether(frame)
    for layer in {IP, FIELDS[kind][0]}:
        del packet[layer].chksum
    return bytes(packet).ljust(LENGTH, b"\0")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_each_frame_is_what_scapy_would_craft(kind: str, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, COUNTS[kind] - 1))
    frame = MADE[kind][value].tobytes()
    layer, field = FIELDS[kind]
    if kind in ("tcp", "udp"):
        assert getattr(Ether(frame)[layer], field) == value
    assert frame[FORMS[kind].at + FORMS[kind].width - 1] == value & 0xFF
    if kind in ("tcp", "udp") or (kind == "ip" and value not in (1, 2, 6, 17, 58)) or value in (0, 8):
        assert frame == recomputed(frame, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ip_packet_fills_the_frame(kind: str) -> None:
    """The kernel's datapath forwards no byte behind a tracked packet: a frame filled by Ethernet arrives shorter."""
    assert {14 + Ether(frame.tobytes())[IP].len for frame in MADE[kind][:3]} == {LENGTH} == {MADE[kind].shape[1]}


def test_a_probe_of_sctp_can_begin_an_association() -> None:
    packet = SCTP(MADE["ip"][132].tobytes()[34:])
    assert (packet.sport, packet.dport, packet.tag) == (SOURCE_PORT, SOURCE_PORT + 1, 0)
    assert bytes(packet.payload)[0] == INIT
    said = packet.chksum
    del packet.chksum
    assert SCTP(bytes(packet)).chksum == said


def test_a_wrong_checksum_would_be_seen() -> None:
    frame = bytearray(frames(ATTACKER, SRV1, "tcp", 1)[80].tobytes())
    frame[50] ^= 1
    assert bytes(frame) != recomputed(bytes(frame), "tcp")


def test_what_was_written_is_read_again_by_source_marker_and_kind(tmp_path: Path) -> None:
    file = tmp_path / "x.pcap"
    tcp, protocols = frames(ATTACKER, SRV1, "tcp", 7), frames(LB, SRV1, "ip", 8)
    assert write(file, tcp[[80, 443, 444]], tcp[[80]], protocols) == 4 + 256
    arrivals = read(file)
    assert arrivals.of(ATTACKER, SRV1, 7, "tcp") == (4, ((80, 80), (443, 444)))
    assert arrivals.of(LB, SRV1, 8, "ip") == (256, ((0, 255),))
    assert arrivals.of(LB, SRV1, 7, "ip") == arrivals.of(ATTACKER, SRV1, 8, "tcp") == (0, ())
    assert arrivals.of(SRV1, ATTACKER, 7, "tcp") == arrivals.of(ATTACKER, LB, 7, "tcp") == (0, ())


@pytest.mark.parametrize("kind", KINDS)
def test_some_values_are_those_of_all(kind: str) -> None:
    some = frames(ATTACKER, SRV1, kind, 3, ((0, 1), (80, 82), (255, 255)))
    assert (some == frames(ATTACKER, SRV1, kind, 3)[[0, 1, 80, 81, 82, 255]]).all()
    assert len(frames(ATTACKER, SRV1, kind, 3, ())) == 0


def test_a_capture_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pcap"
    write(file, frames(ATTACKER, SRV1, "icmp", 1))
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ValueError, match="not a capture of probes alone"):
        read(file)
    write(file, frames(ATTACKER, SRV1, "icmp", 1))
    changed = bytearray(file.read_bytes())
    changed[24 + 12] = 61
    file.write_bytes(changed)
    with pytest.raises(ValueError, match="60 bytes"):
        read(file)


@given(st.sets(st.integers(0, 300)))
def test_intervals_hold_the_same_numbers_and_touch_nowhere(numbers: set[int]) -> None:
    found = intervals(sorted(numbers))
    assert [n for a, b in found for n in range(a, b + 1)] == sorted(numbers)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(found))


def test_no_echo_reply_of_a_sweep_answers_a_request_of_another() -> None:
    identities = {
        frames(src, dst, "icmp", 1)[0].tobytes()[38:40] for src in PLAN.hosts for dst in PLAN.hosts if src != dst
    }
    assert len(identities) == len(PLAN.hosts) * (len(PLAN.hosts) - 1)
