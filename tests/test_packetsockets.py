"""Packet sockets on links that are never silent: reading ends, and every host is read."""

from __future__ import annotations

import selectors
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.firewall_matrix import tries
from experiments.instruments.packetsockets import PacketSockets
from topo.errors import RefusedError
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
