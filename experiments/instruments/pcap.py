"""Reading a capture quickly: which bytes of the file are which packet's, with Wireshark's frame numbers.

Scapy makes an object of every layer of every packet, which is a hundred times too slow for a search of everything that
was on the wire. Only the headers that say where the data lies are read here, and nothing is copied.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from topo.errors import UsageError

# the file's first bytes: byte order, and whether times are in nano- instead of microseconds
NANOSECONDS = (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
ORDERS = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\xa1\xb2\x3c\x4d": ">",
}
FILE_HEADER, RECORD_HEADER = 24, 16
ETHERNET = 1
IPV4, TCP, UDP, SYN = b"\x08\x00", 6, 17, 0x02
FRAGMENT = 0x3FFF  # "more follow", or an offset

_ip = struct.Struct(">BxHxxHxB").unpack_from
_tcp = struct.Struct(">4xI4xBB").unpack_from


# a TCP segment: sequence number, frame, and where its data begins and ends in the file; plain, for there are many
Segment = tuple[int, int, int, int]


class Datagram(NamedTuple):
    """A whole frame that is not TCP, from its Ethernet header on."""

    src: str
    dst: str
    frame: int
    begin: int
    end: int


@dataclass
class Packets:
    """A capture, taken apart. ``connections``: (source, destination) as ``address:port``, and what was sent that way.

    ``unread`` counts frames whose data cannot be put together: what was not read was not searched.
    """

    data: bytes
    frames: int = 0
    connections: list[tuple[str, str, list[Segment]]] = field(default_factory=list)
    datagrams: list[Datagram] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)


def packets(data: bytes) -> Packets:
    """A pcap file's content, taken apart. Raises UsageError when it is no capture of Ethernet frames."""
    order = ORDERS.get(data[:4])
    if order is None or len(data) < FILE_HEADER:
        raise UsageError("this is no pcap file (pcapng is not read: capture with dumpcap -P)")
    if struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF != ETHERNET:
        raise UsageError("this pcap file does not hold Ethernet frames")
    record = struct.Struct(order + "II").unpack_from
    found = Packets(data)
    flows: dict[bytes, list[Segment]] = {}
    offset, frame, size = FILE_HEADER, 0, len(data)
    while offset + RECORD_HEADER <= size:
        captured, length = record(data, offset + 8)
        begin = offset + RECORD_HEADER
        offset = end = begin + captured
        if end > size:
            break
        frame += 1
        if captured < length:
            found.unread["cut off by the capture"] += 1
        # 54: Ethernet, IPv4 and TCP headers without options
        if captured < 54 or data[begin + 12 : begin + 14] != IPV4:
            found.datagrams.append(Datagram("", "", frame, begin, end))
            continue
        version, total, fragment, protocol = _ip(data, begin + 14)
        transport = begin + 14 + (version & 15) * 4
        if protocol != TCP or fragment & FRAGMENT or transport + 20 > end:
            if fragment & FRAGMENT:
                found.unread["IP fragment"] += 1
            found.datagrams.append(_datagram(data, frame, begin, end, transport if protocol == UDP else None))
            continue
        sequence, header, flags = _tcp(data, transport)
        starts = transport + (header >> 4) * 4
        # a length of zero: larger than 64 KB, by segmentation offload
        stops = min(end, begin + 14 + total) if total else end
        key = data[begin + 26 : begin + 34] + data[transport : transport + 4]
        if flags & SYN:
            sequence += 1
            if not (known := flows.get(key)) or known[0][0] != sequence:
                flows[key] = _opened(found, key)
                # an empty segment says where the connection's data begins
                flows[key].append((sequence, frame, starts, starts))
        if starts < stops:
            if key not in flows:
                flows[key] = _opened(found, key)
            flows[key].append((sequence, frame, starts, stops))
    found.frames = frame
    return found


def first_frame(data: bytes, moment: float) -> int:
    """The first frame captured at or after a moment (seconds since 1970); one more than there are when none was."""
    order, fraction = ORDERS[data[:4]], 1e-9 if data[:4] in NANOSECONDS else 1e-6
    time = struct.Struct(order + "II").unpack_from
    frame = 0
    for frame, offset in _records(data):
        seconds, parts = time(data, offset)
        if seconds + parts * fraction >= moment:
            return frame
    return frame + 1


def place(data: bytes, frame: int) -> int:
    """Where a frame's record begins in the file; its end when there is no such frame."""
    return next((offset for number, offset in _records(data) if number == frame), len(data))


def _records(data: bytes) -> Iterator[tuple[int, int]]:
    """(frame, where its record begins) of every packet."""
    length = struct.Struct(ORDERS[data[:4]] + "I").unpack_from
    offset, frame = FILE_HEADER, 0
    while offset + RECORD_HEADER <= len(data):
        frame += 1
        yield frame, offset
        offset += RECORD_HEADER + length(data, offset + 8)[0]


def _opened(found: Packets, key: bytes) -> list[Segment]:
    segments: list[Segment] = []
    found.connections.append((_end(key[:4], key[8:10]), _end(key[4:8], key[10:12]), segments))
    return segments


def _datagram(data: bytes, frame: int, begin: int, end: int, udp: int | None) -> Datagram:
    src, dst = data[begin + 26 : begin + 30], data[begin + 30 : begin + 34]
    if udp is None:
        return Datagram(_address(src), _address(dst), frame, begin, end)
    return Datagram(_end(src, data[udp : udp + 2]), _end(dst, data[udp + 2 : udp + 4]), frame, begin, end)


def _address(packed: bytes) -> str:
    return ".".join(map(str, packed))


def _end(address: bytes, port: bytes) -> str:
    return f"{_address(address)}:{int.from_bytes(port, 'big')}"
