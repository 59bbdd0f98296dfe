"""Scapy, sniffing and dissecting. ``python -m benchmarks.sniff INTERFACE``, run on a host, sniffs live:

it prints a line when it has begun, and when it sees the end frame how many different canaries it has seen.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Any

CANARY = re.compile(rb"numbered canary \d{8}")
END = b"the end of the numbered canaries"


def canary(number: int) -> bytes:
    """The text in the frame of that number."""
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
    """Take a pcap file's content apart as Scapy does, each packet by itself; returns how many it understood."""
    from scapy.data import ETH_P_IP
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether
    from scapy.utils import RawPcapReader

    with RawPcapReader(io.BytesIO(content)) as packets:  # type: ignore[arg-type]
        return sum(IP in packet or packet.type != ETH_P_IP for packet in (Ether(data) for data, _ in packets))


def reassembled(content: bytes) -> int:
    """The same, with TCP's streams put together and HTTP read in them; returns how many answers it has seen."""
    from scapy.layers.http import HTTPResponse
    from scapy.sendrecv import sniff
    from scapy.sessions import TCPSession

    answers = 0

    def count(packet: Any) -> None:
        nonlocal answers
        answers += HTTPResponse in packet

    sniff(offline=io.BytesIO(content), session=TCPSession, store=False, prn=count)
    return answers


if __name__ == "__main__":
    main(*sys.argv[1:])
