"""A paced sender: frames put on a host's link no faster than the switch takes them, so that none is lost.

Open vSwitch reads a link from a packet socket in its userspace datapath, and the kernel shows how much waits there:
that is looked at every few frames. When nothing waits any more, everything that was sent is in the switch.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

from experiments.instruments.packetsockets import packet_socket
from testbed.namespaces import Inside
from topo.errors import DeadlineError

SOCKETS = Path("/proc/self/net/packet")
INTERFACE, WAITING = 4, 6  # columns there: the interface's number, and bytes that have not been read yet
# bytes that may wait, and frames between two looks: a frame counts for 768, and the smallest buffer holds 208 KiB
MANY, BATCH = 64 * 1024, 128
SECONDS, NAP = 30.0, 0.0003


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
    deadline = time.monotonic() + SECONDS
    while waiting(SOCKETS.read_text(), number) >= below:
        if time.monotonic() >= deadline:
            raise DeadlineError(f"the switch has not read its link {number} for {SECONDS:g} s")
        time.sleep(NAP)


def waiting(table: str, number: int) -> int:
    """Bytes that wait at one interface; 0 without a packet socket there: the kernel's own datapath never waits."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return sum(int(row[WAITING]) for row in rows if int(row[INTERFACE]) == number)
