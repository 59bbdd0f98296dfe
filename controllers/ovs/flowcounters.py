"""The counters of a switch's flows, summed by cookie, read from OpenFlow's bytes.

A library makes objects of every match and action, a hundred times as dear; asked every second, that would be felt.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
#: of one flow's statistics: its length; and where in it its cookie and packets are
LENGTH, COUNTED, COUNTED_AT = struct.Struct("!H"), struct.Struct("!QQ"), 24


def packets_by_cookie(switch: str, open_socket: Callable[..., Any] = socket.socket) -> Counter[int]:
    """The packets that the flows of each cookie have matched so far. ``open_socket``: of the caller's kind of threads.

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


def counted(receive: Callable[[int], bytes]) -> Counter[int]:
    """The sums in what a switch answers, up to the last part of its answer. Raises OSError when that is none."""
    packets: Counter[int] = Counter()
    for kind, body in _messages(receive):
        if kind == ERROR:
            raise OSError(f"error {body[:4].hex()}")
        if kind == MULTIPART_REPLY:
            what, flags = MULTIPART.unpack_from(body)
            if what == FLOWS:
                _sum(body, packets)
                if not flags & MORE:
                    return packets
    raise ConnectionError("it hung up")


def _sum(body: bytes, packets: Counter[int]) -> None:
    at = MULTIPART.size
    while at < len(body):
        cookie, number = COUNTED.unpack_from(body, at + COUNTED_AT)
        packets[cookie] += number
        at += max(LENGTH.unpack_from(body, at)[0], COUNTED_AT)


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
