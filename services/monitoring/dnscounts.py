"""DNS queries by type and answers by code, counted on the interface.

NSD counts as well, but tells only by a reload (as of 4.6): 4 ms of processor time, and now and then a lost query.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from services.monitoring.metric import COUNTER, Metric, counters, value

TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 43: "DS",
    48: "DNSKEY", 65: "HTTPS", 252: "AXFR", 255: "ANY",
}  # fmt: skip
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 9: "NOTAUTH"}
OTHER = "other"

ETH_P_ALL, ETH_P_IP, TCP, UDP = 3, 0x0800, 6, 17
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 26, 33, 263, 6
BURST_BYTES = 2**22
#: of a packet, as many bytes as the question of a long name needs
BYTES = 512
IS_ANSWER = 0x8000
#: packets to this host, and from it
HOST, OUTGOING = 0, 4


class Seen(NamedTuple):
    """A query's type, or an answer's code."""

    answer: bool
    name: str


class DnsCounts:
    """Counts from its making on, in a thread of its own."""

    def __init__(self, interface: str, port: int) -> None:
        self._port = port
        self._queries: Counter[tuple[str, ...]] = Counter()
        self._answers: Counter[tuple[str, ...]] = Counter()
        self._missed = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)  # no packet before it is bound
        attach(self._socket, port)
        with suppress(PermissionError):  # of a burst, as much as it may; an ordinary user has no right to more
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BURST_BYTES)
        self._socket.bind((interface, ETH_P_ALL))
        threading.Thread(target=self._watch, daemon=True, name="dns").start()

    def metrics(self) -> Iterator[Metric]:
        yield counters("dns_queries_total", ("type",), dict(self._queries))
        yield counters("dns_answers_total", ("code",), dict(self._answers))
        self._missed += struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        yield value("dns_packets_missed_total", self._missed, COUNTER)

    def _watch(self) -> None:
        while True:
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(BYTES)
            except OSError:  # the interface was down for a moment
                continue
            if (seen := parsed(packet, self._port)) and kind == (OUTGOING if seen.answer else HOST):
                (self._answers if seen.answer else self._queries)[(seen.name,)] += 1


def parsed(packet: bytes, port: int) -> Seen | None:
    """The message in an IPv4 packet's first bytes; None where there is none. A stranger chooses these bytes."""
    try:
        at, size = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
        to = struct.unpack_from("!HH", packet, at)
        at += 8 if packet[9] == UDP else (packet[at + 12] >> 4) * 4
        if packet[9] == TCP:
            (length,) = struct.unpack_from("!H", packet, at)
            at += 2
            if length != size - at:  # no message, or a part of one
                return None
        _, flags, questions, _, _, _ = struct.unpack_from("!6H", packet, at)
        if flags & IS_ANSWER:
            return Seen(True, CODES.get(flags & 15, OTHER)) if to[0] == port else None
        return Seen(False, _asked(packet, at + 12) if questions else OTHER) if to[1] == port else None
    except (struct.error, IndexError):
        return None


def _asked(packet: bytes, at: int) -> str:
    """The type in a question."""
    try:
        while packet[at]:
            at += packet[at] + 1
        return TYPES.get(struct.unpack_from("!H", packet, at + 1)[0], OTHER)
    except (struct.error, IndexError):
        return OTHER


def attach(listening: socket.socket, port: int) -> None:
    """Let the kernel pass on only what comes from a port or goes to it, by UDP or TCP over IPv4, first fragments."""
    load_byte, load_half, load_half_x, header, is_, any_of, give = 0x30, 0x28, 0x48, 0xB1, 0x15, 0x45, 0x06
    program = [
        (load_half, 0, 0, 0xFFFFF000),  # the frame's protocol
        (is_, 0, 10, ETH_P_IP),
        (load_byte, 0, 0, 9),
        (is_, 1, 0, UDP),
        (is_, 0, 7, TCP),
        (load_half, 0, 0, 6),
        (any_of, 5, 0, 0x1FFF),  # a later fragment
        (header, 0, 0, 0),
        (load_half_x, 0, 0, 0),
        (is_, 3, 0, port),
        (load_half_x, 0, 0, 2),
        (is_, 1, 0, port),
        (give, 0, 0, 0),
        (give, 0, 0, BYTES),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
