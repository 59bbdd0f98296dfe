"""The counters of a switch's flows, read from OpenFlow's bytes.

A library makes objects of every match and action, a hundred times as dear; asked every second, that would be felt.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from controllers.ovs.vswitchd import DIRECTORY
from topo.errors import RefusedError

SECONDS = 1.0
VERSION = 4  # OpenFlow 1.3
HELLO, ERROR, MULTIPART_REQUEST, MULTIPART_REPLY = 0, 1, 18, 19
FLOWS, MORE = 1, 1
ALL_TABLES, ANYTHING = 0xFF, 0xFFFFFFFF
HEADER, MULTIPART = struct.Struct("!BBHI"), struct.Struct("!HHxxxx")
#: of all tables, to any port and group, with any cookie and any match
ALL_FLOWS = struct.pack("!BxxxIIxxxxQQHHxxxx", ALL_TABLES, ANYTHING, ANYTHING, 0, 0, 1, 4)
#: of one flow's statistics: its length; where in it its cookie and packets are; and its match, field by field
LENGTH, COUNTED, COUNTED_AT, MATCH_AT = struct.Struct("!H"), struct.Struct("!QQ"), 24, 52
IN_PORT, PROTO, SOURCE, DESTINATION = tuple(
    bytes.fromhex(field) for field in ("80000004", "80001401", "80001604", "80001804")
)


class FlowCount(NamedTuple):
    """The packets that a flow has matched so far, and what it matches exactly: port, IPv4 addresses, protocol."""

    cookie: int
    packets: int
    in_port: int | None
    src: str | None
    dst: str | None
    proto: int | None = None


def flow_counts(switch: str, open_socket: Callable[..., Any] = socket.socket) -> list[FlowCount]:
    """All flows of a switch. ``open_socket``: of the caller's kind of threads.

    Raises RefusedError when Open vSwitch does not answer.
    """
    try:
        with open_socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(Path(DIRECTORY) / f"{switch}.mgmt"))
            connection.sendall(_message(HELLO) + _message(MULTIPART_REQUEST, MULTIPART.pack(FLOWS, 0) + ALL_FLOWS))
            return counted(connection.recv)
    except OSError as error:
        raise RefusedError(f"switch {switch} does not answer: {error}") from None


def counted(receive: Callable[[int], bytes]) -> list[FlowCount]:
    """The flows in what a switch answers, up to the last part of its answer. Raises OSError when that is none."""
    counts: list[FlowCount] = []
    for kind, body in _messages(receive):
        if kind == ERROR:
            raise OSError(f"error {body[:4].hex()}")
        if kind == MULTIPART_REPLY:
            what, flags = MULTIPART.unpack_from(body)
            if what == FLOWS:
                counts += _flows(body)
                if not flags & MORE:
                    return counts
    raise ConnectionError("it hung up")


def _flows(body: bytes) -> Iterator[FlowCount]:
    at = MULTIPART.size
    while at < len(body):
        cookie, packets = COUNTED.unpack_from(body, at + COUNTED_AT)
        length = max(LENGTH.unpack_from(body, at)[0], COUNTED_AT)
        match = body[at + MATCH_AT : at + length]
        yield FlowCount(
            cookie,
            packets,
            _number(match, IN_PORT),
            _address(match, SOURCE),
            _address(match, DESTINATION),
            _number(match, PROTO),
        )
        at += length


def _address(match: bytes, field: bytes) -> str | None:
    value = _value(match, field)
    return socket.inet_ntoa(value) if value else None


def _number(match: bytes, field: bytes) -> int | None:
    value = _value(match, field)
    return int.from_bytes(value, "big") if value else None


def _value(match: bytes, field: bytes) -> bytes:
    """The bytes that follow a field's header, whose last one is their number; none where the field is not there.

    No value that a flow of ours has looks like a header.
    """
    at = match.find(field)
    value = match[at + 4 : at + 4 + field[3]]
    return value if at >= 0 and len(value) == field[3] else b""


def _messages(receive: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message, until the connection ends."""
    received = b""
    while more := receive(1 << 18):
        received += more
        while len(received) >= HEADER.size:
            _, kind, length, _ = HEADER.unpack_from(received)
            if len(received) < length:
                break
            yield kind, received[HEADER.size : length]
            received = received[length:]


def _message(kind: int, body: bytes = b"") -> bytes:
    return HEADER.pack(VERSION, kind, HEADER.size + len(body), 0) + body
