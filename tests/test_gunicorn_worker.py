"""An answer leaves the application in one piece, or not at all."""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser

from services.site.gunicornworker import Whole, Worker

REQUEST = b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n"


class RecordingSocket:
    """A socket that remembers what it was given to send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def fileno(self) -> int:
        return -1


def answered(application: Callable[..., Iterable[bytes]]) -> tuple[RecordingSocket, Any, BaseException | None]:
    """What a worker sends of an application's answer."""
    config, counted = Config(), RecordingSocket()
    worker = Worker.__new__(Worker)
    worker.cfg, worker.nr, worker.max_requests, worker.alive = config, 0, 10, True
    worker.keepalived_conns, worker.max_keepalived, worker.wsgi = (), 10, application
    worker.log = SimpleNamespace(access=lambda *_: None, exception=logging.exception, debug=lambda *_: None)
    peer = ("127.0.0.1", 1)
    connection = SimpleNamespace(sock=counted, client=peer, server=("127.0.0.1", 8000))
    request = next(RequestParser(config, io.BytesIO(REQUEST), peer))
    try:
        kept: Any = worker.handle_request(request, connection)
        problem = None
    except BaseException as error:
        kept, problem = None, error
    assert connection.sock is counted
    return counted, kept, problem


def page(_: Any, start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "6")])
    yield b"abc"
    yield b"def"


def broken(_: Any, start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "6")])
    yield b"abc"
    raise RuntimeError("the database has gone")


def test_head_and_body_are_one_piece() -> None:
    counted, _, problem = answered(page)
    assert problem is None
    (sent,) = counted.sent
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\nabcdef")


@pytest.mark.filterwarnings("ignore")
def test_half_an_answer_is_not_sent() -> None:
    counted, _, problem = answered(broken)
    assert problem is not None
    assert counted.sent == []


def test_in_all_else_it_is_the_socket() -> None:
    left, right = socket.socketpair()
    with left, right:
        whole = Whole(left)
        assert whole.fileno() == left.fileno()
        whole.sendall(b"a")
        whole.sendall(b"b")
        whole.flush()
        whole.flush()
        assert right.recv(10) == b"ab"


def test_no_way_of_sending_passes_by_what_is_kept() -> None:
    left, right = socket.socketpair()
    with left, right:
        whole = Whole(left)
        for name in (name for name in dir(socket.socket) if name.startswith("send")):
            assert name in vars(Whole) or not hasattr(whole, name), name
        whole.sendall(b"head ")
        assert whole.sendfile(io.BytesIO(b"0123456789"), offset=2, count=3) == 3
        assert whole.sendfile(io.BytesIO(b" end")) == 4
        assert whole.send(b"100 Continue ") == 13
        whole.flush()
        assert right.recv(99) == b"100 Continue head 234 end"
