"""A database's client asks for TLS and begins it in one segment: a copy of the capture in which each has a frame.

The client sends the two apart, but a balancer in between that is late passes them on together. tshark looks for TLS
from the next frame on only, so it misses the ClientHello and can open nothing of such a connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from experiments.wire.pcap import FILE_HEADER, RECORD_HEADER, Pcap

#: a packet of 32 bytes, the second of its conversation, that begins with what the client can do; then a TLS handshake
REQUEST = re.compile(rb"\x20\0\0\x01.(.).{30}(?=\x16\x03)", re.DOTALL)
CLIENT_SSL = 0x08  # in the second byte of what the client can do
IP, TOTAL, SEQUENCE = 14, 2, 4


def separated(data: bytes) -> tuple[bytes, list[int]]:
    """The capture with both apart, and the number in ``data`` of each of its frames. As it is, and [], if none are."""
    if not REQUEST.search(data):
        return data, []
    pcap, pieces, numbers = Pcap(data), [data[:FILE_HEADER]], []
    for frame, begin, end, _ in pcap.records():
        time = data[begin - RECORD_HEADER : begin - 8]
        for part in _parts(data[begin:end]):
            pieces += [time, pcap.packed(len(part), len(part)), part]
            numbers.append(frame)
    return b"".join(pieces), numbers


def _parts(packet: bytes) -> Iterator[bytes]:
    """The packet, or two: the second goes on where the first ends."""
    transport = IP + (packet[IP] & 15) * 4 if len(packet) > IP else len(packet)
    starts = transport + (packet[transport + 12] >> 4) * 4 if len(packet) > transport + 12 else len(packet)
    match = REQUEST.match(packet, starts)
    if match is None or not match[1][0] & CLIENT_SSL:
        yield packet
        return
    sequence = int.from_bytes(packet[transport + SEQUENCE : transport + SEQUENCE + 4], "big") + match.end() - starts
    yield _sized(packet[: match.end()])
    yield _sized(
        _at(packet[:starts], transport + SEQUENCE, (sequence % 2**32).to_bytes(4, "big")) + packet[match.end() :]
    )


def _sized(packet: bytes) -> bytes:
    """With the length of its own in the IP header; 0 says that it is longer than the header can say."""
    length = len(packet) - IP
    return _at(packet, IP + TOTAL, (length if length < 1 << 16 else 0).to_bytes(2, "big"))


def _at(packet: bytes, place: int, value: bytes) -> bytes:
    return packet[:place] + value + packet[place + len(value) :]
