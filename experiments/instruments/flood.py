"""A flood of packets at a steady rate: a file that runs alone, so that it starts quickly and costs little.

    python flood.py '{"interface": ..., "rate": ..., "macs": [FROM, TO], "src": ..., "dst": ..., "port": ...}'

Sends until it is ended, or ``count`` packets. ``protocol`` is ``tcp`` (SYNs), ``udp`` or ``icmp`` (echo requests);
``src`` may be ``random``; a ``port`` of 0 is another one with each packet, a ``rate`` of 0 as fast as it goes. Every
packet comes from another port than the last and has right checksums: what is wrong with it is only that no host may
send it there. Prints ``{"time", "count"}`` for what it has sent since the last such line.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import struct
import sys
import time
from ipaddress import IPv4Address
from typing import Any

PORTS = range(20_000, 21_000)
STEP, TOLD = 0.001, 0.02
BATCH = 200
NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}


def frame(macs: bytes, protocol: str, src: bytes, dst: bytes, ports: tuple[int, int]) -> bytes:
    """One frame; ``ports``: the source's and the destination's."""
    content = {"tcp": _syn, "udp": _datagram, "icmp": _echo}[protocol](src + dst, *ports)
    number = NUMBERS[protocol]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, number, 0) + src + dst
    return macs + b"\x08\x00" + ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + content


def _syn(ends: bytes, sport: int, dport: int) -> bytes:
    tcp = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, 2, 8192, 0, 0)
    return tcp[:16] + struct.pack("!H", checksum(_pseudo(ends, "tcp", tcp) + tcp)) + tcp[18:]


def _datagram(ends: bytes, sport: int, dport: int) -> bytes:
    udp = struct.pack("!HHHH", sport, dport, 16, 0) + bytes(8)
    return udp[:6] + struct.pack("!H", checksum(_pseudo(ends, "udp", udp) + udp) or 0xFFFF) + udp[8:]


def _echo(_: bytes, identity: int, sequence: int) -> bytes:
    icmp = struct.pack("!BBHHH", 8, 0, 0, identity, sequence)
    return icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]


def _pseudo(ends: bytes, protocol: str, content: bytes) -> bytes:
    return ends + struct.pack("!HH", NUMBERS[protocol], len(content))


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frames(settings: dict[str, Any]) -> list[bytes]:
    """A thousand different ones, which are sent again and again."""
    drawn = random.Random(1)
    macs = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in reversed(settings["macs"]))
    dst, port, protocol = IPv4Address(settings["dst"]).packed, settings["port"], settings.get("protocol", "tcp")

    def source() -> bytes:
        if settings["src"] == "random":
            return bytes((drawn.randrange(1, 224), *drawn.randbytes(3)))
        return IPv4Address(settings["src"]).packed

    return [frame(macs, protocol, source(), dst, (number, port or 1 + number - PORTS.start)) for number in PORTS]


class Flood:
    """Sends until it is told to end."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.going = True
        self.sent = self.told = 0

    def end(self, *_: object) -> None:
        self.going = False

    def run(self) -> None:
        ready, rate, count = frames(self.settings), self.settings["rate"], self.settings.get("count")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((self.settings["interface"], 0))
            began = time.monotonic()
            last = 0.0
            while self.going and (count is None or self.sent < count):
                due = int((time.monotonic() - began) * rate) if rate else self.sent + BATCH
                due = due if count is None else min(due, count)
                for number in range(self.sent, due):
                    raw.send(ready[number % len(ready)])
                self.sent = max(self.sent, due)
                if time.monotonic() - last > TOLD:
                    last = time.monotonic()
                    self.tell()
                if rate:
                    time.sleep(STEP)
        self.tell()

    def tell(self) -> None:
        if self.sent > self.told:
            print(json.dumps({"time": time.time(), "count": self.sent - self.told}), flush=True)
            self.told = self.sent


def main(settings: str) -> None:
    """Send until ended."""
    flood = Flood(json.loads(settings))
    signal.signal(signal.SIGTERM, flood.end)
    flood.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
