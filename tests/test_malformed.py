"""Malformed packets: crafted as they say, recognised in captures, and judged from rows alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from pcaps import ACK, CLIENT, SERVER, ethernet, pcap, tcp

from controllers.policy import Rule, decide
from experiments.firewall_matrix.malformed import (
    AS_POLICY,
    MUST,
    NEVER,
    PAIRS,
    PRETENDING,
    CraftedFrame,
    CraftedPacket,
    Targets,
    TcpConversation,
    contradictions,
    inconclusive,
    ports,
    sampled,
    talks,
)
from experiments.firewall_matrix.show import malformed_kinds
from experiments.firewall_matrix.tries import MALFORMED, WELL_FORMED, Sightings, tcp_numbers
from topo.plan import Plan

ALL = (*MALFORMED, *WELL_FORMED)


@pytest.fixture(scope="module")
def where(plan: Plan, rules: tuple[Rule, ...]) -> Targets:
    chance = random.Random(7)
    known = [
        TcpConversation(client, server, 40000, port, 1 << 31, 77) for client, server, port in talks(plan, rules, chance)
    ]
    names = (("attacker", "dns"), ("attacker", "srv1"), ("lb", "srv1"), ("srv1", "attacker"))
    return Targets(plan, rules, chance, [(plan.host(src), plan.host(dst)) for src, dst in names], known)


# --- targets ----------------------------------------------------------------------------------------------------------


def test_the_attacker_tries_everybody_and_every_server_tries_him(plan: Plan, rules: tuple[Rule, ...]) -> None:
    names = {(src.name, dst.name) for src, dst in sampled(plan, rules, random.Random(1))}
    assert {("attacker", host.name) for host in plan.hosts if host.name != "attacker"} <= names
    assert {("srv1", "attacker"), ("srv2", "attacker"), ("srv3", "attacker"), ("lb", "srv1")} <= names
    assert sampled(plan, rules, random.Random(1)) == sampled(plan, rules, random.Random(1))


def test_open_ports_are_open_and_closed_ones_closed(plan: Plan, rules: tuple[Rule, ...]) -> None:
    opened, closed = ports(plan, rules, plan.host("client"), plan.host("lb"), "tcp")
    assert opened == [80, 443]
    assert {79, 81, 442, 444, 3306} <= set(closed)
    assert {decide(rules, plan, "client", "lb", "tcp", port).action for port in closed} == {"deny"}
    assert ports(plan, rules, plan.host("srv1"), plan.host("client"), "tcp")[0] == []


def test_one_conversation_passes_a_firewall_and_one_does_not(plan: Plan, rules: tuple[Rule, ...]) -> None:
    for seed in range(20):
        (one, other), names = talks(plan, rules, random.Random(seed)), plan.policed_by
        assert names(one[0].name, one[1].name) == ("core",)
        assert "core" not in names(other[0].name, other[1].name)
        assert 3306 not in (one[2], other[2])


def test_every_packet_is_tried_on_some_target(where: Targets) -> None:
    for packet in ALL:
        targets = list(where.of(packet))
        assert targets, packet.name
        assert all(target.src != target.dst for target in targets)
        if packet.scope == PAIRS and packet.may == AS_POLICY:
            assert {target.allowed for target in targets} == {True, False}, packet.name
        if packet.scope == PRETENDING:
            assert all(target.other not in (target.src, target.dst) for target in targets)


# --- crafting ------------------------------------------------------------------------------------------------------


def test_names_are_told_apart_and_each_has_a_reason() -> None:
    assert len({each.name for each in ALL}) == len(ALL) > 60
    assert all(each.why and each.may in (NEVER, AS_POLICY, MUST) for each in ALL)


@pytest.mark.parametrize("packet", ALL, ids=lambda each: each.name)
def test_every_frame_can_be_told_from_all_others(packet: CraftedPacket, where: Targets) -> None:
    signs = []
    for target in where.of(packet):
        pieces = packet.craft(target)
        assert all(len(piece.frame) >= 42 for piece in pieces)
        signs.append({piece.sign for piece in pieces} - {None})
        assert signs[-1], packet.name
    assert sum(map(len, signs)) == len(set().union(*signs))


def crafted(name: str, where: Targets, *, allowed: bool | None = None) -> tuple[Any, Sequence[bytes]]:
    packet = next(each for each in ALL if each.name == name)
    target = next(target for target in where.of(packet) if allowed in (None, target.allowed))
    return target, [piece.frame for piece in packet.craft(target)]


@pytest.mark.parametrize(
    ("name", "flags"),
    [("ACK without a connection", 0x10), ("NULL: no flags", 0), ("XMAS: FIN+PSH+URG", 0x29), ("SYN+FIN", 3)],
)
def test_flags(name: str, flags: int, where: Targets) -> None:
    assert crafted(name, where)[1][0][47] == flags


def test_a_tiny_first_fragment_ends_within_the_header_of_tcp(where: Targets) -> None:
    target, (first, second, last) = crafted("a tiny first fragment, that splits the TCP header", where)
    assert (len(first), first[20:22]) == (14 + 20 + 8, b"\x20\x00")
    assert int.from_bytes(first[36:38], "big") == target.port
    assert (second[20:22], last[20:22]) == (b"\x20\x01", b"\x00\xb9")


def test_a_rewriting_fragment_has_another_port_at_the_same_place(where: Targets) -> None:
    target, (first, second, last) = crafted("a first fragment that rewrites the port of the one before", where)
    assert first[20:22] == second[20:22] == b"\x20\x00"
    assert [int.from_bytes(each[36:38], "big") for each in (first, second)] == [target.port, target.port % 65535 + 1]
    assert first[18:20] == second[18:20] == last[18:20]


@pytest.mark.parametrize(("name", "place"), [("wrong checksum of TCP", 34), ("wrong checksum of UDP", 34)])
def test_wrong_sums_are_wrong_by_a_bit(name: str, place: int, where: Targets) -> None:
    (frame,) = crafted(name, where)[1]
    pseudo = frame[26:34] + b"\0" + frame[23:24] + (len(frame) - place).to_bytes(2, "big")
    assert folded(pseudo + frame[place:]) != 0xFFFF
    assert folded(frame[14:34]) == 0xFFFF
    assert folded(crafted("wrong checksum of IP", where)[1][0][14:34]) != 0xFFFF


def folded(data: bytes) -> int:
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_stranger_takes_a_name_and_an_end_of_the_connection_does_not(where: Targets) -> None:
    target, (frame,) = crafted("data injected, to the client", where)
    known = target.known
    assert (target.src.name, target.dst) == ("attacker", known.client)
    assert frame[6:12].hex(":") == known.server.mac
    assert int.from_bytes(frame[34:36], "big") == known.port
    assert int.from_bytes(frame[38:42], "big") == known.ack
    target, (frame,) = crafted("wrong numbers from the client itself", where)
    assert frame[6:12].hex(":") == target.src.mac == known.client.mac
    assert int.from_bytes(frame[38:42], "big") == (known.seq + (1 << 31)) % (1 << 32)


def test_an_error_quotes_what_its_receiver_sent(where: Targets) -> None:
    target, (frame,) = crafted("ICMP error about their connection, from the server", where)
    known = target.known
    quoted = frame[42:]
    assert quoted[12:16] == bytes(map(int, known.client.ip.split(".")))
    assert int.from_bytes(quoted[20:22], "big") == known.sport
    assert int.from_bytes(quoted[22:24], "big") == known.port
    _, (frame,) = crafted("ICMP error that lies about the connection, from the server", where)
    assert int.from_bytes(frame[62:64], "big") == known.sport - 1


def test_a_frame_that_could_not_be_recognised_is_refused() -> None:
    with pytest.raises(ValueError, match="recognised"):
        CraftedFrame(b"x" * 60, b"12345678")
    with pytest.raises(ValueError, match="recognised"):
        CraftedFrame(b"x" * 60, b"x")


# --- a connection's numbers ----------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_answer() -> None:
    asked = tcp(SERVER, CLIENT, 0xFFFFFFFF, flags=0x12)
    assert tcp_numbers(asked, SERVER[1], CLIENT[1]) == (0, 0)
    assert tcp_numbers(asked, 81, CLIENT[1]) is None
    assert tcp_numbers(tcp(SERVER, CLIENT, 5, flags=ACK), SERVER[1], CLIENT[1]) is None
    assert tcp_numbers(ethernet(b"x" * 50, kind=0x0806), SERVER[1], CLIENT[1]) is None


# --- sightings -----------------------------------------------------------------------------------------------------

OWN, OTHER, GROUP = "02:00:00:00:00:01", "02:00:00:00:00:02", "01:00:5e:00:00:01"
SIGN = b"RECOGNISE"


def frame(dst: str, src: str, content: bytes = SIGN) -> bytes:
    return b"".join(bytes.fromhex(mac.replace(":", "")) for mac in (dst, src)) + b"\x08\x00" + content + bytes(40)


def sightings(*frames: bytes) -> Sightings:
    return Sightings(pcap(frames), OWN)


def test_what_is_for_the_host_or_for_many_has_arrived() -> None:
    sent = frame(OWN, OTHER)
    assert sightings(frame(OWN, OTHER, b"nothing"), sent).arrived(sent, SIGN) == 1
    assert sightings(sent, sent, frame(GROUP, OTHER)).arrived(sent, SIGN) == 3
    assert sightings(frame(OWN, OTHER, b"nothing")).arrived(sent, SIGN) == 0


def test_what_quotes_it_on_the_way_out_has_not_arrived_but_what_is_flooded_has() -> None:
    sent = frame(OTHER, GROUP)
    assert sightings(frame(OTHER, OWN, b"quoting " + SIGN)).arrived(sent, SIGN) == 0
    assert sightings(sent).arrived(sent, SIGN) == 1


def test_a_sender_sees_its_own_frames_and_what_came_back() -> None:
    sent = frame(OTHER, OWN)
    assert sightings(sent, frame(OWN, OTHER)).came_back(sent, SIGN, 1) == 0
    assert sightings(sent, sent).came_back(sent, SIGN, 1) == 1


def test_a_capture_that_is_still_written_ends_with_its_last_whole_frame() -> None:
    sent = frame(OWN, OTHER)
    data = pcap([sent, sent])
    assert Sightings(data[:-5], OWN).arrived(sent, SIGN) == 1
    assert Sightings(b"", OWN).arrived(sent, SIGN) == 0


# --- the judge -----------------------------------------------------------------------------------------------------


def row(**changed: Any) -> dict[str, Any]:
    plain = {"packet": "NULL", "src": "attacker", "dst": "srv1", "port": 80, "may": NEVER, "allowed": False}
    return {**plain, "why": "because", "sent": 1, "refused": None, "arrived": {}, "inconclusive": [], **changed}


WELL = {"packet": "well-formed ARP request", "may": MUST, "allowed": True}
GOOD = [
    row(),
    row(packet="ACK", may=AS_POLICY, allowed=True, arrived={"srv1": 1}),
    row(packet="ACK", may=AS_POLICY),
    row(**WELL, arrived={"srv1": 1}),
]


def test_what_arrives_where_it_may_is_no_finding() -> None:
    assert (contradictions(GOOD), inconclusive(GOOD)) == ([], [])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"arrived": {"srv1": 1}}, "it may never arrive: because"),
        ({"arrived": {"srv1": 1}, "allowed": True}, "it may never arrive: because"),
        ({"arrived": {"srv1": 1}, "may": AS_POLICY}, "the policy does not allow that conversation: because"),
        (
            {"arrived": {"lb": 1, "srv1": 1}, "may": AS_POLICY, "allowed": True},
            "it was seen at lb, whom it was not for: because",
        ),
        ({"arrived": {"attacker": 1}}, "it was seen at attacker, whom it was not for: because"),
    ],
)
def test_what_arrives_where_it_may_not_is_one(changed: dict[str, Any], says: str) -> None:
    (found,) = contradictions([*GOOD, row(**changed)])
    assert (found["packet"], found["src"], found["says"]) == ("NULL", "attacker", says)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no malformed packet was sent"),
        (GOOD[:3], "attacker -> srv1: nothing well-formed was sent"),
        ([*GOOD[:3], row(**WELL)], "attacker -> srv1: well-formed ARP request did not arrive"),
        ([*GOOD[:3], row(**WELL, arrived={"lb": 1})], "attacker -> srv1: well-formed ARP request did not arrive"),
        ([*GOOD, row(inconclusive=["srv1"])], "the capture at srv1 lost packets"),
    ],
)
def test_without_well_formed_packets_nothing_is_known(rows: list[dict[str, Any]], says: str) -> None:
    assert inconclusive(rows) == [says]


def test_the_summary_counts_where_it_may_and_where_it_may_not() -> None:
    null, ack, well_formed = malformed_kinds([*GOOD, row(refused="Message too long", sent=0)])
    assert (null["tried"], null["closed"], null["closed_arrived"], null["refused"]) == (2, 2, 0, ["Message too long"])
    assert (ack["open"], ack["open_arrived"], ack["closed"], ack["closed_arrived"]) == (1, 1, 1, 0)
    assert well_formed["open_arrived"] == 1
