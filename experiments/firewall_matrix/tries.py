"""Malformed packets, sent for real to find those that the firewalls let through all the same.

One capture at every host, for all of them; each packet is known again by random bytes of its own. Well-formed packets
of the same pairs come last: where they are not seen, it proves nothing that the malformed ones are not seen either.
"""

from __future__ import annotations

import socket
import struct
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controllers.policy import Rule
from experiments.firewall_matrix import malformed_ip, malformed_link, malformed_tcp
from experiments.firewall_matrix.evidence import TryRow
from experiments.firewall_matrix.malformed import (
    MUST,
    CraftedFrame,
    CraftedPacket,
    ProbeTarget,
    Targets,
    TcpConversation,
    sampled,
    talks,
)
from experiments.instruments.capture import Capture, capturing
from experiments.instruments.packetsockets import ETH_P_ALL, packet_socket
from experiments.wire.pcap import FILE_HEADER, Pcap
from testbed.namespaces import Inside
from topo import wait
from topo.errors import DeadlineError, RefusedError
from topo.plan import Host

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

MALFORMED = (
    *malformed_tcp.SEGMENTS,
    *malformed_ip.FRAGMENTS,
    *malformed_link.ADDRESSES,
    *malformed_ip.HEADERS,
    *malformed_ip.ERRORS,
    *malformed_link.PROTOCOLS,
)
WELL_FORMED = malformed_link.WELL_FORMED
SECONDS, SYN_ACK_SECONDS = 5.0, 2.0
SYN_ACK = 0x12
GROUP = 1  # the bit of a MAC address that stands for all hosts or for many


@dataclass
class Try:
    """A packet on its way to one target. ``refused``: the error of the sender's own interface."""

    packet: CraftedPacket
    target: ProbeTarget
    pieces: Sequence[CraftedFrame]
    refused: str | None = None
    sent: list[CraftedFrame] = field(default_factory=list)


def send(testbed: Testbed, run: Run, rules: tuple[Rule, ...]) -> list[TryRow]:
    """All malformed packets, then the well-formed ones. ``rules``: the policy that decides what may arrive."""
    hosts = [(testbed.inside(host.name), host.interface) for host in testbed.plan.hosts]
    with ExitStack() as stack:
        folder = stack.enter_context(run.folder.temporary())
        known = [
            stack.enter_context(conversing(testbed.inside(client.name), client, server, port))
            for client, server, port in talks(testbed.plan, rules, run.random)
        ]
        ends = [pair for talk in known for pair in ((talk.client, talk.server), (talk.server, talk.client))]
        pairs = dict.fromkeys([*sampled(testbed.plan, rules, run.random), *ends])
        targets = Targets(testbed.plan, rules, run.random, tuple(pairs), known)
        tries = [
            Try(packet, target, packet.craft(target))
            for packet in (*MALFORMED, *WELL_FORMED)
            for target in targets.of(packet)
        ]
        with (
            run.phase(f"{len(tries)} malformed packets", total=len(tries)) as progress,
            capturing(hosts, folder) as captures,
        ):
            # one socket a host for all packets: the kernel takes 10 ms to close such a one
            links = {inside.name: stack.enter_context(packet_socket(inside, interface)) for inside, interface in hosts}
            for attempt in tries:
                _put_out(links[attempt.target.src.name], attempt)
                progress.advance(1)
            _wait_for_well_formed(tries, captures)
        seen = {capture.inside.name: _sightings(testbed, capture) for capture in captures}
    lossy = [capture.inside.name for capture in captures if capture.dropped != 0]
    return [_row(attempt, seen, lossy) for attempt in tries]


def _put_out(link: socket.socket, attempt: Try) -> None:
    """Its frames on the sender's link, as they are: the kernel adds nothing."""
    for piece in attempt.pieces:
        try:
            link.send(piece.frame)
            attempt.sent.append(piece)
        except OSError as error:
            attempt.refused = error.strerror


def _wait_for_well_formed(tries: Iterable[Try], captures: Sequence[Capture]) -> None:
    """Until the last ones are there, and so all that came before them; or until it is clear that some never come."""
    files = {capture.inside.name: capture.file for capture in captures}
    well_formed = [attempt for attempt in tries if attempt.packet.may == MUST and attempt.target.allowed]
    due = [(files[attempt.target.dst.name], piece.sign) for attempt in well_formed for piece in attempt.sent]

    def look() -> str | None:
        there = {file: file.read_bytes() for file in files.values()}
        absent = [sign for file, sign in due if sign and sign not in there[file]]
        return f"{len(absent)} well-formed packets are missing" if absent else None

    try:
        wait.until(look, what="well-formed packets", seconds=SECONDS)
    except DeadlineError:
        return  # the rows say so


def _sightings(testbed: Testbed, capture: Capture) -> Sightings:
    return Sightings(capture.file.read_bytes(), testbed.plan.host(capture.inside.name).mac)


def _row(attempt: Try, seen: Mapping[str, Sightings], lossy: Sequence[str]) -> TryRow:
    packet, target = attempt.packet, attempt.target
    return {
        "packet": packet.name,
        "src": target.src.name,
        "dst": target.dst.name,
        "port": target.port,
        "may": packet.may,
        "allowed": target.allowed,
        "why": packet.why,
        "sent": len(attempt.sent),
        "refused": attempt.refused,
        "arrived": _arrived(attempt, seen),
        "inconclusive": list(lossy),
    }


def _arrived(attempt: Try, seen: Mapping[str, Sightings]) -> dict[str, int]:
    """Host -> frames that were seen there."""
    arrived: Counter[str] = Counter()
    for frame, sign in {(piece.frame, piece.sign) for piece in attempt.sent if piece.sign}:
        copies = sum(piece.frame == frame for piece in attempt.sent)
        for name, sightings in seen.items():
            own = name == attempt.target.src.name
            arrived[name] += sightings.came_back(frame, sign, copies) if own else sightings.arrived(frame, sign)
    return {name: number for name, number in sorted(arrived.items()) if number}


# --- frames found in a capture -------------------------------------------------------------------------------------


class Sightings:
    """A capture of one host's link. ``mac``: the host's own."""

    def __init__(self, data: bytes, mac: str) -> None:
        self._data = data
        self._mac = bytes.fromhex(mac.replace(":", ""))
        begun = len(data) >= FILE_HEADER
        self._frames = [(begin, end) for _, begin, end, _ in Pcap(data).records()] if begun else []
        self._begins = [begin for begin, _ in self._frames]

    def arrived(self, frame: bytes, sign: bytes) -> int:
        """The times that it is there as a frame for this host, or for many; or exactly as it was sent, for any host.

        A frame that this host sends itself, quoting it, is for another host.
        """
        frames = [self._data[begin:end] for begin, end in self._with(sign)]
        return sum(seen == frame or seen[:6] == self._mac or bool(seen[0] & GROUP) for seen in frames)

    def came_back(self, frame: bytes, sign: bytes, sent: int) -> int:
        """For the sender's own capture: how often it is there beyond those that went out."""
        return max(0, sum(self._data[begin:end] == frame for begin, end in self._with(sign)) - sent)

    def _with(self, sign: bytes) -> Iterable[tuple[int, int]]:
        """The places of the frames that have these bytes."""
        places, at = set(), self._data.find(sign)
        while at >= 0:
            number = bisect_right(self._begins, at) - 1
            if number >= 0 and at + len(sign) <= self._frames[number][1]:
                places.add(self._frames[number])
            at = self._data.find(sign, at + 1)
        return places


# --- a real conversation -------------------------------------------------------------------------------------------


@contextmanager
def conversing(inside: Inside, client: Host, server: Host, port: int) -> Iterator[TcpConversation]:
    """``client``, whose inside this is, is connected to a port of ``server``. Raises RefusedError when it cannot be."""
    with packet_socket(inside, client.interface, ETH_P_ALL) as link, ExitStack() as stack:
        seconds = SYN_ACK_SECONDS * wait.patience()
        link.settimeout(seconds)
        try:
            sport = stack.enter_context(inside.connect(port, server.ip, seconds)).getsockname()[1]
            seq, ack = _answered(link, port, sport)
        except OSError as error:
            raise RefusedError(f"{client.name} cannot talk to {server.name}:{port}: {error}") from None
        yield TcpConversation(client, server, sport, port, seq, ack)


def _answered(link: socket.socket, port: int, sport: int) -> tuple[int, int]:
    """The numbers in the SYN+ACK: the next one of the client, and of the server. Raises TimeoutError (an OSError)."""
    seconds = SYN_ACK_SECONDS * wait.patience()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (numbers := tcp_numbers(link.recv(65536), port, sport)) is not None:
            return numbers
    raise TimeoutError(f"no SYN+ACK was seen within {seconds:g} s")


def tcp_numbers(frame: bytes, port: int, sport: int) -> tuple[int, int] | None:
    """The numbers in a frame, if it is the SYN+ACK from that port to that one."""
    if frame[12:14] != b"\x08\x00" or frame[23:24] != b"\x06":
        return None
    start = 14 + (frame[14] & 15) * 4
    if len(frame) < start + 14:
        return None
    source, target, seq, ack, _, flags = struct.unpack_from(">HHIIBB", frame, start)
    if (source, target) != (port, sport) or flags & SYN_ACK != SYN_ACK:
        return None
    return ack, (seq + 1) % (1 << 32)
