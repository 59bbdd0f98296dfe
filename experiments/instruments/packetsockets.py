"""Packet sockets on the hosts' links: frames are put on a link as if the host sent them, and read from it.

They are opened and read from here: no program runs on the hosts, and a frame that has arrived is known at once, which a
capture that is read when it has ended cannot tell.

A paced sender puts frames on a link no faster than the switch takes them, so that none is lost. Open vSwitch reads a
link from a packet socket in its userspace datapath, and the kernel shows how much waits there: that is looked at every
few frames. When nothing waits any more, everything that was sent is in the switch.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from testbed.namespaces import Inside
from topo import wait
from topo.errors import DeadlineError

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE = 263, 6, 8, 23, 33
AUXDATA, VLAN_VALID = struct.Struct("=IIIHHHH"), 0x10
SEND_TIMEOUT = struct.pack("@ll", 5, 0)  # seconds and microseconds
BUFFER, LONGEST = 16 << 20, 65536
MOST_FRAMES = 4096  # that one look reads of a host
SOCKETS = Path("/proc/self/net/packet")
INTERFACE, WAITING = 4, 6  # columns there: the interface's number, and bytes that have not been read yet
# bytes that may wait, and frames between two looks: a frame counts for 768, and the smallest buffer holds 208 KiB
MANY, BATCH = 64 * 1024, 128
SECONDS, NAP = 30.0, 0.0003


def packet_socket(inside: Inside, interface: str, protocol: int = 0) -> socket.socket:
    """A packet socket on a host's link; without a protocol it receives nothing. A full link fails a send in time."""
    link = inside.open_socket(socket.SOCK_RAW, socket.AF_PACKET)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_TIMEOUT)
        link.bind((interface, protocol))
    except BaseException:
        link.close()
        raise
    return link


class PacketSockets:
    """``with PacketSockets({host: (inside, interface)}) as sockets``: all that arrives at these hosts from now on."""

    def __init__(self, places: Mapping[str, tuple[Inside, str]]) -> None:
        self._places = places
        self._sockets: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._undo = ExitStack()

    def __enter__(self) -> PacketSockets:
        with ExitStack() as undo:
            undo.callback(self._selector.close)
            for host, (inside, interface) in self._places.items():
                link = undo.enter_context(packet_socket(inside, interface))
                link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
                link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
                link.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
                link.bind((interface, ETH_P_ALL))
                link.setblocking(False)
                self._selector.register(link, selectors.EVENT_READ, host)
                self._sockets[host] = link
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def send(self, host: str, frame: bytes) -> None:
        self._sockets[host].send(frame)

    def arrivals(self, seconds: float) -> Iterator[tuple[str, bytes]]:
        """(host, frame) of what has arrived; waits so long for the first.

        Of each host at most ``MOST_FRAMES``, so that it ends on a link that is never silent.
        """
        for key, _ in self._selector.select(seconds):
            link = self._sockets[key.data]
            with suppress(BlockingIOError):
                for _ in range(MOST_FRAMES):
                    yield key.data, _received(link)

    def lost(self) -> dict[str, int]:
        """Frames that arrived and could not be kept since this was last asked, by host; empty when all were seen."""
        dropped = {
            host: struct.unpack("=II", link.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            for host, link in self._sockets.items()
        }
        return {host: count for host, count in dropped.items() if count}


def _received(link: socket.socket) -> bytes:
    """A frame as it was on the link: the kernel takes VLAN tags off and tells them beside it."""
    data, told, _, _ = link.recvmsg(LONGEST, socket.CMSG_SPACE(AUXDATA.size))
    for level, kind, auxiliary in told:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tag, protocol = AUXDATA.unpack(auxiliary[: AUXDATA.size])
            if status & VLAN_VALID:
                return data[:12] + struct.pack("!HH", protocol or 0x8100, tag) + data[12:]
    return data


def send_paced(inside: Inside, interface: str, frames: bytes, length: int, switch: str) -> None:
    """Send frames of one length, one after the other; ``switch``: the interface at the link's other end.

    Returns when the switch has read them all. Raises DeadlineError when it reads no more.
    """
    number = socket.if_nametoindex(switch)
    content = memoryview(frames)
    with packet_socket(inside, interface) as link:
        for at in range(0, len(content), length):
            if at % (BATCH * length) == 0:
                _wait(number, MANY)
            _send(link, content[at : at + length], number)
    _wait(number, 1)


def _send(link: socket.socket, frame: memoryview, number: int) -> None:
    try:
        link.send(frame)
    except BlockingIOError:
        raise DeadlineError(f"the link {number} of the switch takes no more frames") from None


def _wait(number: int, below: int) -> None:
    """Until less is waiting. A look takes less time than a switch needs for a batch."""
    seconds = SECONDS * wait.patience()
    deadline = time.monotonic() + seconds
    while (left := waiting(SOCKETS.read_text(), number)) >= below:
        if time.monotonic() >= deadline:
            raise wait.late(f"the switch has read its link {number}", seconds, f"{left} bytes wait")
        time.sleep(NAP)


def waiting(table: str, number: int) -> int:
    """Bytes that wait at one interface; 0 without a packet socket there: the kernel's own datapath never waits."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return sum(int(row[WAITING]) for row in rows if int(row[INTERFACE]) == number)
