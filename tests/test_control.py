"""Talking to a running testbed: values come back, errors come back as errors, silence is refused with a line."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controllers import jsonsocket
from testbed import control, state
from testbed.state import Claim, Entry
from topo.errors import FoobarError, RefusedError, UsageError

ENTRY = Entry("a", "up", os.getpid(), 1, "", {}, {})


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Claim]:
    for module in (state, control):
        monkeypatch.setattr(module, "folder", lambda: tmp_path)
    claim = Claim("a")
    yield claim
    claim.release()


def serve(claim: Claim, **handlers: Any) -> None:
    jsonsocket.serve(os.dup(claim.control.fileno()), handlers)


def test_a_question_is_answered(claim: Claim) -> None:
    serve(claim, add=lambda a, b: {"sum": a + b}, nothing=lambda: None)
    assert control.ask(ENTRY, "add", a=1, b=2) == {"sum": 3}
    assert control.ask(ENTRY, "nothing") is None


def test_a_handlers_error_reaches_the_asker_and_the_testbed_lives_on(claim: Claim) -> None:
    def fail() -> None:
        raise ValueError("no such thing")

    serve(claim, fail=fail, fine=lambda: "fine")
    with pytest.raises(FoobarError, match=r"^ValueError: no such thing$"):
        control.ask(ENTRY, "fail")
    assert control.ask(ENTRY, "fine") == "fine"


@pytest.mark.parametrize("kind", [FoobarError, RefusedError, UsageError])
def test_an_error_keeps_its_kind(claim: Claim, kind: type[FoobarError]) -> None:
    def fail() -> None:
        raise kind("not now")

    serve(claim, fail=fail)
    with pytest.raises(FoobarError, match=r"^not now$") as caught:
        control.ask(ENTRY, "fail")
    assert type(caught.value) is kind


def test_an_unknown_request_is_an_error(claim: Claim) -> None:
    serve(claim, fine=lambda: None)
    with pytest.raises(FoobarError, match="KeyError: 'status'"):
        control.ask(ENTRY, "status")
    with pytest.raises(FoobarError, match="TypeError"):
        control.ask(ENTRY, "fine", unasked=1)


@pytest.mark.parametrize("sent", [b"", b"\n", b"nonsense\n", b"[]\n", b'{"request": 1}\n'])
def test_nonsense_does_not_end_the_testbed(claim: Claim, sent: bytes) -> None:
    serve(claim, fine=lambda: "fine")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(claim.socket_path))
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert b"error" in connection.recv(1000)
    assert control.ask(ENTRY, "fine") == "fine"


def test_an_asker_who_goes_away_is_no_trouble(claim: Claim) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow() -> str:
        asked.set()
        assert answered.wait(5)
        return "x" * 1_000_000

    serve(claim, slow=slow, fine=lambda: "fine")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(claim.socket_path))
        connection.sendall(b'{"request": "slow", "arguments": {}}\n')
        assert asked.wait(5)
    answered.set()
    assert control.ask(ENTRY, "fine") == "fine"


def test_several_ask_at_once(claim: Claim) -> None:
    both = threading.Barrier(2, timeout=5)
    serve(claim, meet=lambda: both.wait() >= 0)
    answers: list[Any] = []
    asking = [threading.Thread(target=lambda: answers.append(control.ask(ENTRY, "meet"))) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert answers == [True, True]


def test_nobody_there(claim: Claim) -> None:
    claim.release()
    with pytest.raises(RefusedError, match=r"^testbed a does not answer .* it may be booting or leaving$"):
        control.ask(ENTRY, "status")


def test_nobody_answers_in_time(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonsocket, "SECONDS", 0.05)
    with pytest.raises(RefusedError, match="does not answer"):
        control.ask(ENTRY, "status")


def test_it_leaves_instead_of_answering(claim: Claim) -> None:
    def hang_up() -> None:
        connection, _ = claim.control.accept()
        connection.recv(1000)
        connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    with pytest.raises(RefusedError, match=r"testbed a left without an answer"):
        control.ask(ENTRY, "status")
    thread.join()
