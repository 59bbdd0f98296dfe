"""The frames of a sweep: one probe for each port, ICMP type or IP protocol between two hosts.

Scapy crafts one template; numpy multiplies it, because 131,584 frames for each of 56 pairs are too many to craft one by
one. Only one 16-bit word changes from frame to frame, so each checksum follows from the template's own (RFC 1624).
All frames have Ethernet's least length, and the IP packet fills it: the kernel's datapath takes off what is behind a
packet that it has tracked, and so a capture of probes is a plain array on every datapath.
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.firewall_matrix.answers import EVERYTHING
from experiments.firewall_matrix.evidence import Intervals
from topo.plan import Host

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Frames = NDArray[numpy.uint8]

LENGTH = 60
RECORD = 16 + LENGTH  # a pcap record: its header, then the frame
PCAP_HEADER = 24
SOURCE_PORT = 20000  # below those that Linux gives to connections: a probe is never part of a host's own connection

# An SCTP association's first chunk is in the probes of every IP protocol: Open vSwitch 3.5's tracker finds a packet of
# SCTP invalid that does not begin one, 3.1's does not look inside. It is as long as the frame has room.
SCTP_INIT = b"\x01\0\0\x0e" + bytes(10)


@dataclass(frozen=True)
class ProbeForm:
    """Frames of one kind: the field at byte ``at`` goes through its values; the checksum over it is at ``checksum``.

    ``ttl`` tells the kinds apart where they arrive: a sweep through the IP protocols has TCP's and UDP's among them.
    No host sends with such a one by itself.
    """

    name: str
    at: int
    width: int
    checksum: int
    ttl: int
    shift: int = 0  # the field's place within its 16-bit word


FORMS: Mapping[str, ProbeForm] = {
    "tcp": ProbeForm("tcp", at=36, width=2, checksum=50, ttl=60),
    "udp": ProbeForm("udp", at=36, width=2, checksum=40, ttl=61),
    "icmp": ProbeForm("icmp", at=34, width=1, checksum=36, ttl=62, shift=8),
    "ip": ProbeForm("ip", at=23, width=1, checksum=24, ttl=63),
}
KINDS_BY_TTL = {form.ttl: kind for kind, form in FORMS.items()}
TYPE_AT, ID_AT, TTL_AT, SOURCE_AT, DESTINATION_AT = 12, 18, 22, 26, 30
IPV4 = 0x0800


def frames(src: Host, dst: Host, kind: str, marker: int, values: Intervals | None = None) -> Frames:
    """Probes of one kind from one host to another, shape (number of values, 60); by default for all values.

    ``marker`` (16 bits) is in the IP id, and is found again where a probe arrives.
    """
    return multiplied(_template(src, dst, kind, marker), FORMS[kind], EVERYTHING[kind] if values is None else values)


def multiplied(template: bytes, form: ProbeForm, values: Intervals) -> Frames:
    """The template with each value of its field, checksums right. The template's own value must be 0."""
    import numpy

    ranges = [numpy.arange(low, high + 1) for low, high in values]
    numbers = numpy.concatenate([numpy.zeros(0), *ranges]).astype(numpy.uint32)
    made = numpy.tile(numpy.frombuffer(template, numpy.uint8), (len(numbers), 1))
    _put(made, form.at, form.width, numbers)
    zero = int.from_bytes(template[form.checksum : form.checksum + 2], "big")
    total = (~zero & 0xFFFF) + (numbers << form.shift)
    total = (total & 0xFFFF) + (total >> 16)
    _put(made, form.checksum, 2, ~total & 0xFFFF)
    return made


def _put(frames: Frames, at: int, width: int, values: NDArray[Any]) -> None:
    for place in range(width):
        frames[:, at + place] = values >> (8 * (width - 1 - place)) & 0xFF


@cache
def _template(src: Host, dst: Host, kind: str, marker: int) -> bytes:
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.l2 import Ether
    from scapy.layers.sctp import SCTP
    from scapy.packet import Raw

    inner = {
        "tcp": TCP(sport=SOURCE_PORT, dport=0, flags="S", seq=marker),
        "udp": UDP(sport=SOURCE_PORT, dport=0),
        "icmp": ICMP(type=0, id=_identity(src, dst)),
        "ip": Raw(bytes(SCTP(sport=SOURCE_PORT, dport=SOURCE_PORT + 1) / Raw(SCTP_INIT))),
    }[kind]
    outer = IP(src=src.ip, dst=dst.ip, id=marker, ttl=FORMS[kind].ttl)
    if kind == "ip":
        outer.proto = 0
    bare = Ether(src=src.mac, dst=dst.mac) / outer / inner
    return bytes(bare / Raw(bytes(LENGTH - len(bare))))


def _identity(src: Host, dst: Host) -> int:
    """Another one for each pair: an echo reply with the id of a request from the other side would be its answer."""
    return zlib.crc32(f"{src.ip} {dst.ip}".encode()) & 0xFFFF


@dataclass(frozen=True)
class Arrivals:
    """Probes found in a capture: (source, destination, marker, kind) -> how many, and which values."""

    seen: Mapping[tuple[str, str, int, str], tuple[int, Intervals]]

    def of(self, src: Host, dst: Host, marker: int, kind: str) -> tuple[int, Intervals]:
        return self.seen.get((src.ip, dst.ip, marker, kind), (0, ()))


def read(path: Path) -> Arrivals:
    """The probes in a capture of nothing but probes and a canary. Raises ValueError for a file with anything else."""
    import numpy

    data = numpy.fromfile(path, numpy.uint8)[PCAP_HEADER:]
    if len(data) % RECORD:
        raise ValueError(f"{path}: not a capture of probes alone")
    records = data.reshape(-1, RECORD)
    if not (records[:, 12] == LENGTH).all():
        raise ValueError(f"{path}: a frame is not {LENGTH} bytes long")
    captured = records[:, 16:]
    return Arrivals(dict(_groups(captured[_word(captured, TYPE_AT) == IPV4])))


def _groups(frames: Frames) -> Iterator[tuple[tuple[str, str, int, str], tuple[int, Intervals]]]:
    import numpy

    ends = numpy.ascontiguousarray(frames[:, SOURCE_AT : DESTINATION_AT + 4]).view(">u8").ravel()
    for pair in numpy.unique(ends):
        between = frames[ends == pair]
        labels = _word(between, ID_AT) << 8 | between[:, TTL_AT]
        for label in numpy.unique(labels):
            own, kind = between[labels == label], KINDS_BY_TTL[int(label) & 0xFF]
            src, dst = (str(ipaddress.ip_address(int(pair) >> shift & 0xFFFFFFFF)) for shift in (32, 0))
            yield (src, dst, int(label) >> 8, kind), (len(own), intervals(numpy.unique(_values(own, FORMS[kind]))))


def _values(frames: Frames, form: ProbeForm) -> NDArray[Any]:
    return _word(frames, form.at) if form.width == 2 else frames[:, form.at]


def _word(frames: Frames, at: int) -> NDArray[Any]:
    import numpy

    return frames[:, at].astype(numpy.uint32) << 8 | frames[:, at + 1]


def intervals(values: Any) -> Intervals:
    """Sorted distinct numbers as closed intervals: (3, 4, 5, 9) -> ((3, 5), (9, 9))."""
    import numpy

    numbers = numpy.asarray(values, dtype=numpy.int64)
    if not len(numbers):
        return ()
    ends = numpy.flatnonzero(numpy.diff(numbers) != 1)
    starts = numbers[numpy.concatenate(([0], ends + 1))]
    lasts = numbers[numpy.concatenate((ends, [len(numbers) - 1]))]
    return tuple((int(a), int(b)) for a, b in zip(starts, lasts, strict=True))
