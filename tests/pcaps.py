"""Making captures byte by byte, without Scapy, so that Scapy can be asked what it makes of them."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

CLIENT, SERVER = ("10.0.1.10", 40000), ("10.0.2.10", 80)
SYN, ACK = 0x02, 0x10

End = tuple[str, int]


def ethernet(payload: bytes, kind: int = 0x0800) -> bytes:
    return b"\x02" * 6 + b"\x04" * 6 + struct.pack(">H", kind) + payload


def ip(src: str, dst: str, protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    words = 5 + len(options) // 4
    total = words * 4 + len(payload)
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, total if total < 1 << 16 else 0, 1, fragment, 64, protocol, 0)
    return head + _packed(src) + _packed(dst) + options + payload


def tcp(src: End, dst: End, sequence: int, payload: bytes = b"", *, flags: int = ACK, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(">HHIIBBHHH", src[1], dst[1], sequence % (1 << 32), 0, words << 4, flags, 65535, 0, 0)
    return ethernet(ip(src[0], dst[0], 6, head + options + payload))


def udp(src: End, dst: End, payload: bytes) -> bytes:
    return ethernet(ip(src[0], dst[0], 17, struct.pack(">HHHH", src[1], dst[1], 8 + len(payload), 0) + payload))


def pcap(frames: Iterable[bytes], order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    """The content of a pcap file with these frames, a millisecond apart."""
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, 1)
    records = (
        struct.pack(order + "IIII", 1, number * 1000, len(frame), len(frame)) + frame
        for number, frame in enumerate(frames)
    )
    return head + b"".join(records)


def stream(
    data: bytes, cuts: Sequence[int] = (), *, src: End = CLIENT, dst: End = SERVER, first: int = 7
) -> list[bytes]:
    """A SYN, then the data in segments that end at the cuts."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    segments = [tcp(src, dst, first + 1 + begin, data[begin:end]) for begin, end in itertools.pairwise(places)]
    return [tcp(src, dst, first, flags=SYN), *segments]


def written(path: Path, frames: Iterable[bytes]) -> Path:
    path.write_bytes(pcap(frames))
    return path


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))
