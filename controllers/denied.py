"""Denied packets as events, which the controller writes from the samples that it is sent (sampling.py).

One JSON object a line, in a file that the monitoring host sees, whose size is bounded:

    {"time": 1700000000.123456, "switch": "fw1", "rule": "deny-rest", "src": "attacker", "dst": "srv1",
     "proto": "tcp", "port": 3306, "in_port": 1}

``src`` and ``dst`` are hosts' names, or else addresses, as the packet says: of a ``spoofed`` one only ``in_port``, the
switch's port that it came by, is true. ``port`` is the destination's, or ICMP's type; null where there is none.
``rule`` is ``block`` for what a blocked host goes on sending, allowed or not: so it is no evidence of anything. It is
null in the few milliseconds in which a policy is being replaced and either may have denied the packet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from topo import jsonlines

#: where the monitoring host sees the events; what came before is beside it, under the same name with ``.1``
EVENTS = Path("/run/controller/denied.jsonl")
MOST_BYTES = 2_000_000

IPV4, ARP, TAGS = 0x0800, 0x0806, (0x8100, 0x88A8)
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
LATER_FRAGMENT = 0x1FFF


@dataclass(frozen=True)
class Headers:
    """The headers in a packet's first bytes. ``proto``: a name, IPv4's number of it, or else the ethertype in hex."""

    src: str
    dst: str
    proto: str
    port: int | None = None


@dataclass(frozen=True)
class Denied:
    """One event, as it is written."""

    time: float
    switch: str
    rule: str | None
    src: str
    dst: str
    proto: str
    port: int | None
    in_port: int

    def text(self) -> str:
        what = self.proto if self.port is None else f"{self.proto}/{self.port}"
        return f"{self.src} -> {self.dst} {what}: denied by {self.rule or 'a rule'} on {self.switch}"


def parse(frame: bytes) -> Headers:
    """The headers of a frame, however short or malformed: the sender of a denied packet chooses its bytes."""
    at = 12
    while _number(frame, at, 2) in TAGS:
        at += 4
    kind, payload = _number(frame, at, 2), frame[at + 2 :]
    if kind == IPV4 and len(payload) >= 20:
        return _ipv4(payload)
    if kind == ARP and len(payload) >= 28:
        return Headers(_address(payload[14:18]), _address(payload[24:28]), "arp")
    return Headers(_mac(frame[6:12]), _mac(frame[0:6]), f"{kind:#06x}")


def _ipv4(packet: bytes) -> Headers:
    src, dst, number = _address(packet[12:16]), _address(packet[16:20]), packet[9]
    proto = PROTOCOLS.get(number, str(number))
    payload = packet[(packet[0] & 15) * 4 :]
    if proto not in PROTOCOLS.values() or _number(packet, 6, 2) & LATER_FRAGMENT:
        return Headers(src, dst, proto)
    at, size = (0, 1) if proto == "icmp" else (2, 2)
    return Headers(src, dst, proto, _number(payload, at, size) if len(payload) >= at + size else None)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _address(data: bytes) -> str:
    return str(IPv4Address(data))


def _mac(data: bytes) -> str:
    return data.hex(":")


def event(when: float, switch: str, rule: str | None, in_port: int, frame: bytes, hosts: Mapping[str, str]) -> Denied:
    """A sampled packet as an event. ``hosts``: name by address."""
    headers = parse(frame)
    src, dst = (hosts.get(address, address) for address in (headers.src, headers.dst))
    return Denied(when, switch, rule, src, dst, headers.proto, headers.port, in_port)


def note(path: Path, denial: Denied, most_bytes: int = MOST_BYTES) -> None:
    """Append an event to the file. A file that is full replaces the one before it, which is lost."""
    with path.open("a") as stream:
        stream.write(json.dumps(asdict(denial)) + "\n")
        full = stream.tell() >= most_bytes
    if full:
        path.replace(before(path))


def before(path: Path) -> Path:
    """The file that was full."""
    return path.with_name(f"{path.name}.1")


def read(path: Path, after: float = 0.0) -> Iterator[dict[str, Any]]:
    """The events that were written after that time, in order. A line that is being written now is left for later."""
    names = {own.name for own in fields(Denied)}
    for file in (before(path), path):
        for _, denial in jsonlines.rows(file.read_bytes() if file.exists() else b""):
            if denial.keys() == names and isinstance(denial["time"], (int, float)) and denial["time"] > after:
                yield denial
