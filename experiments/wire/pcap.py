"""Reading a capture quickly: which bytes of the file are which packet's, with Wireshark's frame numbers.

    file -> records (where a packet lies, when it passed) -> packets, by connection; or frames, one by one

dumpcap writes times in microseconds or, in Debian 13, in nanoseconds: the file's first bytes say which. Scapy makes an
object of every layer of every packet, which is a hundred times too slow for a search of everything that was on the
wire. Only the headers that say where the data lies are read here, and nothing is copied.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from topo.errors import UsageError

# the file's first bytes: byte order, and the unit of a time's second part (s)
KINDS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
FILE_HEADER, RECORD_HEADER = 24, 16
ETHERNET = 1
IPV4, ARP = b"\x08\x00", b"\x08\x06"
ICMP, TCP, UDP = 1, 6, 17
FLAGS, SYN = "FSRPAUEC", 0x02
FRAGMENT = 0x3FFF  # "more follow", or an offset

_ip = struct.Struct(">BxHxxHxB").unpack_from
_tcp = struct.Struct(">4xI4xBB").unpack_from


class Pcap:
    """A pcap file's content. Raises UsageError when it is no capture of Ethernet frames."""

    def __init__(self, data: bytes) -> None:
        if data[:4] not in KINDS or len(data) < FILE_HEADER:
            raise UsageError("this is no pcap file (pcapng is not read: capture with dumpcap -P)")
        order, self._unit = KINDS[data[:4]]
        if struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF != ETHERNET:
            raise UsageError("this pcap file does not hold Ethernet frames")
        self.data = data
        two = struct.Struct(order + "II")
        self._two, self.packed = two.unpack_from, two.pack

    def records(self) -> Iterator[tuple[int, int, int, int]]:
        """(frame, where it begins, where it ends, its length on the wire); a last one that is not whole is left out."""
        data, two, size = self.data, self._two, len(self.data)
        frame, end = 0, FILE_HEADER
        while end + RECORD_HEADER <= size:
            captured, length = two(data, end + 8)
            begin = end + RECORD_HEADER
            end = begin + captured
            if end > size:
                return
            frame += 1
            yield frame, begin, end, length

    def time(self, begin: int) -> float:
        """When the frame passed that begins there (seconds since 1970)."""
        seconds, parts = self._two(self.data, begin - RECORD_HEADER)
        return float(seconds + parts * self._unit)


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
    result = Packets(data)
    flows: dict[bytes, list[Segment]] = {}
    frame = 0
    for frame, begin, end, length in Pcap(data).records():
        captured = end - begin
        if captured < length:
            result.unread["cut off by the capture"] += 1
        # 54: Ethernet, IPv4 and TCP headers without options
        if captured < 54 or data[begin + 12 : begin + 14] != IPV4:
            result.datagrams.append(Datagram("", "", frame, begin, end))
            continue
        version, total, fragment, protocol = _ip(data, begin + 14)
        transport = begin + 14 + (version & 15) * 4
        if protocol != TCP or fragment & FRAGMENT or transport + 20 > end:
            if fragment & FRAGMENT:
                result.unread["IP fragment"] += 1
            result.datagrams.append(_datagram(data, frame, begin, end, transport if protocol == UDP else None))
            continue
        sequence, header, flags = _tcp(data, transport)
        starts = transport + (header >> 4) * 4
        # a length of zero: larger than 64 KB, by segmentation offload
        stops = min(end, begin + 14 + total) if total else end
        key = data[begin + 26 : begin + 34] + data[transport : transport + 4]
        if flags & SYN:
            sequence += 1
            if not (known := flows.get(key)) or known[0][0] != sequence:
                flows[key] = _opened(result, key)
                # an empty segment says where the connection's data begins
                flows[key].append((sequence, frame, starts, starts))
        if starts < stops:
            if key not in flows:
                flows[key] = _opened(result, key)
            flows[key].append((sequence, frame, starts, stops))
    result.frames = frame
    return result


def first_frame(data: bytes, moment: float) -> int:
    """The first frame captured at or after a time (seconds since 1970); one more than there are when none was."""
    pcap, frame = Pcap(data), 0
    for frame, begin, _, _ in pcap.records():
        if pcap.time(begin) >= moment:
            return frame
    return frame + 1


def place(data: bytes, frame: int) -> int:
    """The offset of a frame's record in the file; its end when there is no such frame."""
    begins = (begin for number, begin, _, _ in Pcap(data).records() if number == frame)
    return next(begins, len(data) + RECORD_HEADER) - RECORD_HEADER


@dataclass(frozen=True)
class CapturedFrame:
    """One captured packet with a payload or a TCP flag that begins or ends something. ``number`` is Wireshark's."""

    number: int
    time: float
    src: str
    dst: str
    proto: str
    flags: str
    payload: bytes = field(repr=False)


def frames(file: Path) -> list[CapturedFrame]:
    """The packets of a capture that say something: all but bare acknowledgements. Raises UsageError as ``Pcap``."""
    pcap = Pcap(file.read_bytes())
    records = ((number, pcap.time(begin), pcap.data[begin:end]) for number, begin, end, _ in pcap.records())
    return [frame for number, time, data in records if (frame := _frame(number, time, data)) is not None]


def _frame(number: int, time: float, data: bytes) -> CapturedFrame | None:
    if data[12:14] == ARP and len(data) >= 42:
        return CapturedFrame(number, time, _address(data[28:32]), _address(data[38:42]), "arp", "", b"")
    if data[12:14] != IPV4 or len(data) < 34:
        return None
    version, total, fragment, protocol = _ip(data, 14)
    # without Ethernet's padding; a length of zero is more than 64 KB, by segmentation offload
    content = data[14 + (version & 15) * 4 : 14 + total if total else None]
    src, dst = data[26:30], data[30:34]
    if protocol == ICMP:
        return CapturedFrame(number, time, _address(src), _address(dst), "icmp", "", b"")
    if fragment & FRAGMENT or len(content) < 8:
        return None
    ends = _end(src, content[:2]), _end(dst, content[2:4])
    if protocol == UDP:
        return CapturedFrame(number, time, *ends, "udp", "", content[8:])
    return _segment(number, time, ends, content) if protocol == TCP and len(content) >= 20 else None


def _segment(number: int, time: float, ends: tuple[str, str], content: bytes) -> CapturedFrame | None:
    _, header, bits = _tcp(content, 0)
    payload = content[(header >> 4) * 4 :]
    flags = "".join(letter for bit, letter in enumerate(FLAGS) if bits >> bit & 1)
    return CapturedFrame(number, time, *ends, "tcp", flags, payload) if payload or set(flags) & set("SFR") else None


def _opened(packets: Packets, key: bytes) -> list[Segment]:
    segments: list[Segment] = []
    packets.connections.append((_end(key[:4], key[8:10]), _end(key[4:8], key[10:12]), segments))
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
