"""Capturing packets on links without loss, and reading them back.

tcpdump writes, Scapy reads: Scapy's own sniffing drops packets at a few thousand a second.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from topo.errors import FoobarError
from topo.namespaces import Inside

BUFFER_KIB = 16384
DROPPED = re.compile(r"(\d+) packets? dropped by kernel")


@dataclass
class Capture:
    """Packets of one interface of one host. ``dropped`` is what the kernel could not hand over; None: not known."""

    link: str
    interface: str
    file: Path
    dropped: int | None = None

    @property
    def blind(self) -> bool:
        """A capture that lost packets (or died) proves nothing by what it did not see."""
        return self.dropped != 0


@dataclass(frozen=True)
class Frame:
    """One captured packet with a payload or a TCP flag that begins or ends something. ``number`` is Wireshark's."""

    number: int
    time: float
    src: str
    dst: str
    proto: str
    flags: str
    payload: bytes = field(repr=False)


@contextmanager
def capturing(wanted: Sequence[tuple[Inside, str]], folder: Path) -> Iterator[list[Capture]]:
    """Capture on (host, interface) pairs while the block runs. Every tcpdump listens before the block begins.

    Files are named after the host, and after the interface too when it is not the host's link.
    """
    with ExitStack() as stack:
        running = [_start(stack, inside, interface, folder) for inside, interface in wanted]
        for capture, process, said in running:
            _wait_listening(capture, process, said)
        try:
            yield [capture for capture, _, _ in running]
        finally:
            for _, process, _ in running:
                process.send_signal(signal.SIGINT)
            for capture, process, said in running:
                rest = said.read()
                process.wait(10)
                found = DROPPED.search(rest)
                capture.dropped = int(found[1]) if found else None


def _start(
    stack: ExitStack, inside: Inside, interface: str, folder: Path
) -> tuple[Capture, subprocess.Popen[Any], IO[str]]:
    link = inside.name if interface != "lo" else f"{inside.name}-lo"
    capture = Capture(link, interface, folder / f"{link}.pcap")
    stream = stack.enter_context(capture.file.open("wb"))
    options = ("-n", "-U", "--immediate-mode", "-s", "0", "-B", str(BUFFER_KIB), "-Z", "root", "-w", "-")
    process = inside.popen(("tcpdump", "-i", interface, *options), stdout=stream, stderr=subprocess.PIPE, text=True)
    stack.callback(process.kill)
    assert process.stderr is not None
    return capture, process, process.stderr


def _wait_listening(capture: Capture, process: subprocess.Popen[Any], said: IO[str]) -> None:
    line = ""
    while "listening on" not in line:
        line = said.readline()
        if not line:
            raise FoobarError(f"tcpdump on {capture.interface} ended with status {process.wait(5)}")


def frames(file: Path) -> list[Frame]:
    """The packets of a capture that say something: all but bare acknowledgements, with their frame numbers."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.l2 import ARP, Ether
    from scapy.utils import RawPcapReader

    found = []
    with RawPcapReader(str(file)) as packets:
        for number, (data, meta) in enumerate(packets, start=1):
            packet = Ether(data)
            moment = meta.sec + meta.usec / 1e6
            if IP not in packet:
                if ARP in packet:
                    found.append(Frame(number, moment, packet[ARP].psrc, packet[ARP].pdst, "arp", "", b""))
                continue
            ip = packet[IP]
            if TCP in packet:
                flags, payload = str(packet[TCP].flags), _payload(ip, packet[TCP])
                if payload or set(flags) & set("SFR"):
                    ends = f"{ip.src}:{packet[TCP].sport}", f"{ip.dst}:{packet[TCP].dport}"
                    found.append(Frame(number, moment, *ends, "tcp", flags, payload))
            elif UDP in packet:
                ends = f"{ip.src}:{packet[UDP].sport}", f"{ip.dst}:{packet[UDP].dport}"
                found.append(Frame(number, moment, *ends, "udp", "", bytes(packet[UDP].payload)))
            elif ICMP in packet:
                found.append(Frame(number, moment, ip.src, ip.dst, "icmp", "", b""))
    return found


def _payload(ip: Any, tcp: Any) -> bytes:
    """TCP's data without Ethernet's padding."""
    length = ip.len - ip.ihl * 4 - tcp.dataofs * 4
    return bytes(tcp.payload)[:length] if ip.len else bytes(tcp.payload)
