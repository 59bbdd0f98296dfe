"""Packet sockets: reading ends on a link that is never silent; no more is sent than a switch takes."""

from __future__ import annotations

import selectors
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.firewall_matrix import tries
from experiments.instruments import packetsockets
from experiments.instruments.packetsockets import PacketSockets
from topo.errors import DeadlineError, RefusedError
from topo.plan import Plan


class EndlessSocket:
    """A link that always has another frame; after a second of them its reader should have ended."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.deadline = time.monotonic() + 1

    def recvmsg(self, *_: int) -> tuple[bytes, list[Any], int, None]:
        return self.recv(), [], 0, None

    def recv(self, *_: int) -> bytes:
        assert time.monotonic() < self.deadline, "reading never ends"
        return self.frame

    def bind(self, address: Any) -> None: ...

    def setsockopt(self, *_: Any) -> None: ...

    def settimeout(self, seconds: float) -> None: ...

    def __enter__(self) -> EndlessSocket:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_one_look_reads_every_host_and_ends() -> None:
    sockets = PacketSockets({})
    sockets._sockets = {name: EndlessSocket(bytes(60)) for name in ("lb", "srv1")}  # type: ignore[misc]
    ready = [(SimpleNamespace(data=name), selectors.EVENT_READ) for name in sockets._sockets]
    sockets._selector = SimpleNamespace(select=lambda seconds: ready)  # type: ignore[assignment]
    assert {host for host, _ in sockets.arrivals(0.1)} == {"lb", "srv1"}


def test_an_answer_that_is_never_seen_is_refused(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SYN+ACK was lost for the capture, and the health checks of others keep its link busy."""
    monkeypatch.setattr(tries, "SYN_ACK_SECONDS", 0.05)
    client, server = plan.host("lb"), plan.host("srv1")
    link = EndlessSocket(bytes(60))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inside: Any = SimpleNamespace(
            open_socket=lambda *_: link, connect=lambda *_: socket.create_connection(listener.getsockname())
        )
        with pytest.raises(RefusedError, match="cannot talk"), tries.conversing(inside, client, server, 80):
            pass


def test_what_fails_during_a_conversation_is_not_said_of_it(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_answered", lambda *_: (1, 2))
    client, server = plan.host("lb"), plan.host("srv1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inside: Any = SimpleNamespace(
            open_socket=lambda *_: EndlessSocket(b""),
            connect=lambda *_: socket.create_connection(listener.getsockname()),
        )
        with pytest.raises(FileNotFoundError), tries.conversing(inside, client, server, 80):
            raise FileNotFoundError("a capture's file")


TABLE = """\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
00000000c1a5ab6c 3      3    0003   7     1 76800  0      31180
00000000a1a5ab6c 3      3    0003   9     1 0      0      31181
00000000b1a5ab6c 3      3    0003   7     1 100    0      31182
"""


def test_what_waits_is_told_by_interface() -> None:
    assert [packetsockets.waiting(TABLE, number) for number in (7, 9, 8)] == [76900, 0, 0]


class Table:
    """/proc/net/packet, which the switch empties bit by bit."""

    def __init__(self, left: int, read: int) -> None:
        self.left = left
        self.read = read

    def read_text(self) -> str:
        self.left = max(0, self.left - self.read)
        return f"sk\nx 3 3 0003 7 1 {self.left} 0 1\n"


def test_it_waits_until_the_switch_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(1000, 300)
    monkeypatch.setattr(packetsockets, "SOCKETS", table)
    packetsockets._wait(7, 1)
    assert table.left == 0


def test_a_switch_that_reads_no_more_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packetsockets, "SOCKETS", Table(1000, 0))
    monkeypatch.setattr(packetsockets, "SECONDS", 0.01)
    with pytest.raises(DeadlineError, match=r"read its link 7: not within 0.01 s; last seen: 1000 bytes wait"):
        packetsockets._wait(7, 1)
