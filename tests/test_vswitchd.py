"""Talking to ovs-vswitchd: an answer in pieces, a refusal, silence."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from controllers.ovs import vswitchd
from topo.errors import FoobarError, RefusedError


@pytest.fixture
def answering(tmp_path: Path) -> Callable[..., list[bytes]]:
    """Answer one request with these pieces; what was asked is in the list."""

    def serve(*pieces: bytes) -> list[bytes]:
        (tmp_path / "ovs-vswitchd.pid").write_text("7\n")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "ovs-vswitchd.7.ctl"))
        listening.listen()
        asked: list[bytes] = []

        def answer() -> None:
            with listening, listening.accept()[0] as connection:
                asked.append(connection.recv(1000))
                for piece in pieces:
                    connection.sendall(piece)

        threading.Thread(target=answer, daemon=True).start()
        return asked

    return serve


def test_an_answer_in_pieces(tmp_path: Path, answering: Callable[..., list[bytes]]) -> None:
    asked = answering(b'{"id":0,"result":"do', b'ne","error":null}')
    assert vswitchd.tell("dpctl/flush-conntrack", "zone=2", directory=tmp_path) == "done"
    assert json.loads(asked[0]) == {"id": 0, "method": "dpctl/flush-conntrack", "params": ["zone=2"]}


def test_a_refusal_is_an_error(tmp_path: Path, answering: Callable[..., list[bytes]]) -> None:
    answering(b'{"id":0,"result":null,"error":"no such command"}')
    with pytest.raises(FoobarError, match=r"^ovs-vswitchd refuses nonsense: no such command$"):
        vswitchd.tell("nonsense", directory=tmp_path)


def test_nobody_answers(tmp_path: Path, answering: Callable[..., list[bytes]]) -> None:
    with pytest.raises(RefusedError, match="ovs-vswitchd does not answer"):
        vswitchd.tell("revalidator/purge", directory=tmp_path)
    answering(b'{"id"')
    with pytest.raises(RefusedError, match="it hung up"):
        vswitchd.tell("revalidator/purge", directory=tmp_path)
