"""What Scapy does of a capture's work. ``python -m benchmarks.sniff INTERFACE``, run on a host, sniffs live:

it prints a line when it has begun, and when it sees the end frame how many different canaries it has seen.
"""

from __future__ import annotations

import io
import re
import sys

CANARY = re.compile(rb"numbered canary \d{8}")
END = b"the end of the numbered canaries"


def canary(number: int) -> bytes:
    """What the frame of that number says."""
    return b"numbered canary %08d" % number


def main(interface: str) -> None:
    """Sniff until the end frame."""
    from scapy.sendrecv import sniff

    seen: set[bytes] = set()
    sniff(
        iface=interface,
        store=False,
        prn=lambda packet: seen.update(CANARY.findall(bytes(packet))),
        stop_filter=lambda packet: END in bytes(packet),
        started_callback=lambda: print("begun", flush=True),
    )
    print(len(seen))


def dissected(content: bytes) -> int:
    """Take a pcap file's content apart as Scapy does; returns how many packets it made of it."""
    from scapy.layers.l2 import Ether
    from scapy.utils import RawPcapReader

    with RawPcapReader(io.BytesIO(content)) as packets:  # type: ignore[arg-type]
        return sum(len(Ether(data)) > 0 for data, _ in packets)


if __name__ == "__main__":
    main(*sys.argv[1:])
