"""The log sender: each line comes to the store, whenever it is killed, and what comes twice is recognised."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import logfiles
from services.monitoring import logrecord, logsender, logstore, relp
from services.monitoring.logfollower import LogPlace
from services.monitoring.logsender import CONFIRMED, LINE_BYTES, READ, Connected, Notes, Queue, RelpClient, ship
from services.monitoring.logstore import LogQuery, LogSearch
from services.monitoring.logwriter import Pieces, serve
from topo import folders

#: what becomes of a log and of its sender; "killed": after it has read, and before that is confirmed
STEPS = st.lists(st.sampled_from(["write", "part", "sent", "killed", "emptied", "restarted"]), max_size=30)


class SentLog:
    """A log whose lines are numbered, and a sender of it that is begun anew from its notes."""

    def __init__(self, folder: Path, noted: str) -> None:
        self.log, self.notes = folder / "a.log", Notes(str(folder / "places.json"))
        self.noted, self.written, self.part = noted, 0, False
        self.stored: list[bytes] = []
        self.restarted()

    def restarted(self) -> None:
        self.queue = Queue("srv1", [("web", str(self.log))], self.notes.read())

    def write(self) -> None:
        with self.log.open("a") as log:
            log.write("]\n" if self.part else f"[{self.written}]\n")
        self.written, self.part = self.written + 1, False

    def begin_a_line(self) -> None:
        if not self.part:
            with self.log.open("a") as log:
                log.write(f"[{self.written}")
        self.part = True

    def sent(self) -> None:
        for piece in self.queue.pieces():
            self.stored += piece.split(b"\n")
        self.notes.write(self.queue.places)

    def killed(self) -> None:
        found = [*self.queue.pieces()]
        if self.noted == READ:
            self.notes.write(self.queue.places)
        for piece in found[:-1]:
            self.stored += piece.split(b"\n")
        self.restarted()

    def emptied(self) -> None:
        self.sent()
        if self.log.exists():
            with folders.opened(self.log.parent) as folder:
                logfiles.rotate(folder, self.log.name, 1)

    def read(self) -> list[str]:
        return [found.text for found in LogSearch(LogQuery()).records(self.stored)]


def lived(folder: Path, steps: list[str], noted: str) -> SentLog:
    log = SentLog(folder, noted)
    does: dict[str, Callable[[], None]] = {
        "write": log.write,
        "part": log.begin_a_line,
        "sent": log.sent,
        "killed": log.killed,
        "emptied": log.emptied,
        "restarted": log.restarted,
    }
    for step in steps:
        does[step]()
    log.write()
    log.sent()
    return log


@settings(deadline=None)
@given(steps=STEPS)
def test_whenever_it_is_killed_each_line_is_read_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    log = lived(tmp_path_factory.mktemp("log"), steps, CONFIRMED)
    assert sorted(log.read()) == sorted(f"[{number}]" for number in range(log.written))


def test_one_that_notes_what_it_has_only_read_loses_it(tmp_path: Path) -> None:
    """The negative control, which the experiment ``monitoring`` has as well."""
    steps = ["write", "sent", "write", "killed", "write"]
    assert lived(tmp_path, steps, READ).read() == ["[0]", "[2]", "[3]"]


def queue_of(folder: Path, content: bytes) -> Queue:
    (folder / "a.log").write_bytes(content)
    return Queue("srv1", [("web", str(folder / "a.log"))], {})


def test_any_bytes_are_rows_of_the_store(tmp_path: Path) -> None:
    texts = [
        b"plain /a",
        bytes(range(1, 10)) + bytes(range(11, 256)),
        "\u00e4\u20ac\U0001f600\u2028".encode(),
        b'{"a":1}',
    ]
    (piece,) = queue_of(tmp_path, b"\n".join(texts) + b"\n").pieces()
    lines = piece.split(b"\n")
    rows = [json.loads(line.decode(errors="surrogateescape")) for line in lines]
    assert [row["line"].encode(errors="surrogateescape") for row in rows] == texts
    assert [row["offset"] for row in rows] == [0, 9, 9 + len(texts[1]) + 1, 9 + len(texts[1]) + len(texts[2]) + 2]
    assert {(row["host"], row["service"], row["file"]) for row in rows} == {("srv1", "web", str(tmp_path / "a.log"))}
    assert logrecord.record(rows[0]).text == "plain /a"
    assert logstore._READ.search(lines[0])


def test_a_row_says_where_its_line_begins_also_one_that_came_in_parts(tmp_path: Path) -> None:
    log, queue = tmp_path / "a.log", queue_of(tmp_path, b"[0]\n[1")
    rows = [*queue.pieces()]
    with log.open("a") as file:
        file.write("]\n[2")
    rows += queue.pieces()
    with folders.opened(tmp_path) as folder:
        logfiles.rotate(folder, log.name, 1)
    with log.open("a") as file:
        file.write("]\n[3]\n")
    rows += queue.pieces()
    found = [json.loads(line) for piece in rows for line in piece.split(b"\n")]
    assert [(row["line"], row["offset"]) for row in found] == [("[0]", 0), ("[1]", 4), ("[2]", -2), ("[3]", 2)]


def test_what_has_come_goes_in_pieces_that_a_collector_takes(tmp_path: Path) -> None:
    line = b"\x01" * LINE_BYTES  # six bytes each as JSON
    queue = queue_of(tmp_path, (line + b"\n") * 3 + b"x" * (LINE_BYTES + 1) + b"\nlast\n")
    pieces = [*queue.pieces()]
    while queue.behind:
        pieces += queue.pieces()
    assert [len(piece.split(b"\n")) for piece in pieces] == [1, 1, 1, 1]
    assert max(map(len, pieces)) < relp.LONGEST
    assert json.loads(pieces[-1])["line"] == "last"
    assert queue.refused == 1


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Callable[[], Connected]]:
    """Connections to one."""
    pieces = Pieces(str(tmp_path / logstore.NAME), 2**20, 2)
    served: list[tuple[threading.Thread, socket.socket, socket.socket]] = []

    def connect() -> socket.socket:
        own, other = socket.socketpair()
        thread = threading.Thread(target=serve, args=(other, pieces), daemon=True)
        thread.start()
        served.append((thread, own, other))
        return own

    yield connect
    for thread, own, other in served:
        with other:
            own.close()
            thread.join(5)


def test_what_is_confirmed_is_stored_and_noted(tmp_path: Path, collector: Callable[[], Connected]) -> None:
    queue, notes = queue_of(tmp_path, b"[0]\n[1]\n[2"), Notes(str(tmp_path / "places.json"))
    ship(queue, RelpClient(collector), notes)
    stored = (tmp_path / logstore.NAME).read_bytes().splitlines()
    assert [json.loads(line)["line"] for line in stored] == ["[0]", "[1]"]
    assert notes.read() == {str(tmp_path / "a.log"): LogPlace(10, b"[0]\n[1]\n[2", b"[2", in_moved=False)}


class Refusing:
    """A collector that takes nothing so many times, and says so, or goes."""

    def __init__(self, connect: Callable[[], Connected], said: bytes, times: int) -> None:
        self.connect, self.said, self.left = connect, said, times

    def __call__(self) -> Connected:
        if not self.left:
            return self.connect()
        self.left -= 1
        own, other = socket.socketpair()
        with other:
            other.sendall(self.said)
        return own


@pytest.mark.parametrize("said", [b"", b"1 rsp 6 500 no\n", b"1 rsp 6 200 OK\n", b"HTTP/1.1 400 Bad Request\r\n" * 9])
def test_what_is_not_confirmed_waits_and_is_sent_again(
    tmp_path: Path,
    collector: Callable[[], Connected],
    said: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logsender, "AGAIN", 0)
    queue, notes = queue_of(tmp_path, b"[0]\n"), Notes(str(tmp_path / "places.json"))
    ship(queue, RelpClient(Refusing(collector, said, 3)), notes)
    assert json.loads((tmp_path / logstore.NAME).read_bytes())["line"] == "[0]"
    assert notes.read()[str(tmp_path / "a.log")].offset == 4
    assert capsys.readouterr().out.count("lines wait: ") == 1


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": ["1", 2]}', "null"])
def test_notes_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "places.json").write_text(text)
    assert Notes(str(tmp_path / "places.json")).read() == {}


def test_without_room_the_notes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes(str(tmp_path / "places.json"))
    notes.write({"a": LogPlace(3, b"x\xff", b"\xff", in_moved=False)})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    notes.write({"a": LogPlace(9, b"y", b"", in_moved=False)})
    assert notes.read() == {"a": LogPlace(3, b"x\xff", b"\xff", in_moved=False)}
