"""A real TCP connection between two hosts, with the numbers that its next segments will have."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from experiments.firewall_matrix.oddity import Conversation
from testbed.namespaces import Inside
from topo.errors import RefusedError
from topo.plan import Host

EVERYTHING = 0x0003
SYN_ACK = 0x12
SECONDS = 2.0


@contextmanager
def conversing(inside: Inside, client: Host, server: Host, port: int) -> Iterator[Conversation]:
    """``client``, whose inside this is, is connected to a port of ``server``. Raises RefusedError when it cannot be."""
    with inside.open_socket(socket.SOCK_RAW, socket.AF_PACKET) as link:
        link.bind((client.interface, EVERYTHING))
        link.settimeout(SECONDS)
        try:
            connection = inside.connect(port, server.ip, SECONDS)
            with connection:
                sport = connection.getsockname()[1]
                seq, ack = _answered(link, port, sport)
                yield Conversation(client, server, sport, port, seq, ack)
        except OSError as error:
            raise RefusedError(f"{client.name} cannot talk to {server.name}:{port}: {error}") from None


def _answered(link: socket.socket, port: int, sport: int) -> tuple[int, int]:
    """What the SYN+ACK says: the next number of the client, and of the server. Raises TimeoutError (an OSError)."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if (found := numbers(link.recv(65536), port, sport)) is not None:
            return found
    raise TimeoutError(f"no SYN+ACK was seen within {SECONDS:g} s")


def numbers(frame: bytes, port: int, sport: int) -> tuple[int, int] | None:
    """The numbers in a frame, if it is the SYN+ACK from that port to that one."""
    if frame[12:14] != b"\x08\x00" or frame[23:24] != b"\x06":
        return None
    start = 14 + (frame[14] & 15) * 4
    source, target, seq, ack, _, flags = struct.unpack_from(">HHIIBB", frame, start)
    if (source, target) != (port, sport) or flags & SYN_ACK != SYN_ACK:
        return None
    return ack, (seq + 1) % (1 << 32)
