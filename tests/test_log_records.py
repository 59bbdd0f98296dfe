"""Log records: an entry of each service's log as it was written, whatever bytes it has, and how it is found again."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitoring import logrecord, logsearch, logstore, relp
from services.monitoring.logrecord import LEVELS, LogRecord
from services.monitoring.logstore import Cursor, LogQuery, LogSearch
from services.monitoring.logwriter import Pieces, confirmed, serve
from testbed.commandline import seconds
from testbed.commands import do_logs
from topo import folders

READ = "2026-11-29T00:16:42.500000+00:00"
READ_S = 1795911402.5
ID = "c6b65f87-3bf9-4001-bee1-2a569d65ef9d"


def stored(
    line: str, *, host: str = "srv1", service: str = "app", file: str = "/var/log/a.log", offset: int = 0
) -> bytes:
    """An entry as a shipper writes it: its JSON leaves what is no ASCII."""
    row = {"host": host, "service": service, "file": file, "offset": offset, "read": READ, "line": line}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogateescape")


def record(line: str, **place: Any) -> LogRecord:
    return logrecord.record(json.loads(stored(line, **place)))


def local(text: str, fraction: float = 0.0) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S")) + fraction


HAPROXY = (
    '{"time":1795911402448,"request_id":"%s","client":"10.0.1.10:43210","tls":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384",'
    '"alpn":"h2","frontend":"https","backend":"servers","server":"srv1","from":"10.0.2.10:40000","to":"10.0.3.11:80",'
    '"ms":{"request":0,"queue":0,"connect":0,"answer":4,"all":4},"status":200,"bytes":4180,"ending":"----",'
    '"retries":"0","request":"GET https://www.foobar.com/ HTTP/2.0"}'.replace("%s", ID)
)
NGINX = (
    '{"time":1795911402.448,"request_id":"%s","from":"10.0.2.10:40000","request":"GET / HTTP/1.1","status":502,'
    '"bytes":4221,"seconds":0.003,"upstream":"127.0.0.1:8000","upstream_seconds":"0.003"}'.replace("%s", ID)
)
ACCESS = (
    '{"time":1795911402.448003,"request_id":"%s","from":"10.0.1.10, 10.0.2.10","request":"GET / HTTP/1.1",'
    '"status":404,"bytes":3822,"seconds":0.001818}'.replace("%s", ID)
)
SLOW = (
    "# Time: 261129  0:16:42\n# User@Host: app_read[app_read] @ localhost []\n"
    "# Thread_id: 19  Schema: foobar  QC_hit: No\n"
    "# Query_time: 0.000354  Lock_time: 0.000030  Rows_sent: 1  Rows_examined: 1\n"
    "# Rows_affected: 0  Bytes_sent: 56\nSET timestamp=1795911402;\n"
    f"/* req={ID} at=1795911402.446600 */ SELECT id FROM users WHERE name = 'O\\'Hara; --' AND x = 'it''s';"
)
FORMATS: dict[str, tuple[str, Mapping[str, object]]] = {
    "haproxy": (
        HAPROXY,
        {"time": 1795911402.448, "level": "info", "request": ID, "took_ms": 4.0}
        | {"text": "GET https://www.foobar.com/ HTTP/2.0 200 in 4 ms server srv1"},
    ),
    "haproxy, of itself": ("[WARNING]  (34) : config : x", {"time": READ_S, "level": "warning"}),
    "nginx": (NGINX, {"time": 1795911402.448, "level": "error", "request": ID, "took_ms": 3.0}),
    "nginx, errors": (
        "2026/11/29 00:16:42 [error] 12#12: *3 connect() failed",
        {"time": local("2026-11-29 00:16:42"), "level": "error", "text": "[error] 12#12: *3 connect() failed"},
    ),
    "gunicorn": (ACCESS, {"time": 1795911402.448003, "level": "notice", "request": ID, "took_ms": 1.818}),
    "application": (
        f"2026-11-29 00:16:42,123 WARNING foobar.site: req={ID} writing again: gone",
        {"time": local("2026-11-29 00:16:42", 0.123), "level": "warning", "request": ID},
    ),
    "mariadb": (
        "2026-11-29  0:16:42 0 [Note] mariadbd: ready for connections.",
        {"time": local("2026-11-29 00:16:42"), "level": "notice"},
    ),
    "nsd": (
        "[2026-11-29 00:16:32.438] nsd[31]: notice: nsd started (NSD 4.6.1), pid 25",
        {"time": local("2026-11-29 00:16:32", 0.438), "level": "notice"},
    ),
    "failover": (
        '{"time": 1795911402.448, "event": "repoint-failed", "ms": 3.1, "replica": "srv2"}',
        {"level": "warning", "took_ms": None, "text": "repoint-failed ms=3.1 replica=srv2"},
    ),
    "prometheus": (
        '{"caller":"main.go:1","level":"warn","msg":"late","ts":"2026-11-29T00:16:42.448Z"}',
        {"time": 1795911402.448, "level": "warning", "text": "late caller=main.go:1"},
    ),
    "prometheus 3": (
        '{"time":"2026-11-29T00:16:42.448123456Z","level":"ERROR","source":"main.go:1","msg":"no"}',
        {"time": 1795911402.448123, "level": "error"},
    ),
    "vmagent": (
        '{"ts":"2026-11-29T01:16:42.448+0100","level":"info","caller":"a.go:9","msg":"up"}',
        {"time": 1795911402.448, "level": "info"},
    ),
    "words alone": ("Killed", {"time": READ_S, "level": "info", "text": "Killed"}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_becomes_a_record(name: str) -> None:
    line, said = FORMATS[name]
    seen = record(line)
    assert {key: getattr(seen, key) for key in said} == pytest.approx(said)


def test_a_record_says_when_a_request_had_come() -> None:
    assert record(HAPROXY).began == pytest.approx(1795911402.444)
    assert record("Killed").began == READ_S


BLANK = LogRecord(0.0, "srv1", "db", "info", "")


def statements(log: str, request: str = ID) -> list[LogRecord]:
    return list(logrecord.statements(BLANK, log.encode(), request))


def test_a_requests_statements_are_found_in_the_databases_own_log() -> None:
    """Not those of others, nor what a connection says at its beginning; values are left out."""
    other = SLOW.replace(ID, ID[:-1]).replace("users", "others")
    untagged = SLOW.replace(SLOW.splitlines()[-1], "SET SESSION long_query_time = 0;")
    first, second = statements("\n".join(["mariadbd, Version", untagged, SLOW, other, untagged, SLOW, ""]))
    assert first == replace(second, offset=first.offset)
    assert first.text == "app_read: SELECT id FROM users WHERE name = ? AND x = ?"
    assert (first.time, first.began) == pytest.approx((1795911402.446954, 1795911402.4466))
    assert (first.request, first.took_ms, first.host, first.service) == (ID, 0.354, "srv1", "db")
    assert statements(SLOW, ID[:-2]) == []


@given(st.lists(st.sampled_from([*SLOW.splitlines(), "x", ""])))
def test_a_log_of_statements_may_be_torn(rows: list[str]) -> None:
    assert len(statements("\n".join(rows))) <= len(rows)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=4
)
KEYS = st.sampled_from(["time", "ts", "ms", "seconds", "status", "request", "request_id", "level", "msg", "event"])


@given(st.binary() | st.builds(lambda row: json.dumps(row).encode(), st.dictionaries(KEYS, VALUES)))
def test_no_line_is_refused(line: bytes) -> None:
    text = line.decode(errors="backslashreplace")
    found = logrecord.record({"host": "srv1", "service": "app", "offset": 1, "read": READ, "line": text})
    assert found.level in LEVELS
    assert do_logs.line(found)
    json.dumps(found.as_dict())


@given(st.lists(st.binary(), max_size=4))
def test_no_stored_bytes_are_refused(lines: list[bytes]) -> None:
    LogSearch(LogQuery()).records([*lines, *(stored("x")[: len(line)] for line in lines)])


def test_a_line_that_was_cut_is_shown_as_far_as_it_goes() -> None:
    for missing in (1, 2, 3, 4, 5, 6):
        search = LogSearch(LogQuery())
        (found,) = search.records([stored("x\x01" * 20)[:-missing]])
        assert found.text.startswith("x\x01x\x01")
        assert search.cut == 1


# --- searching ----------------------------------------------------------------------------------------------------


def search(lines: Iterable[bytes], **query: Any) -> list[LogRecord]:
    return LogSearch(LogQuery(**query)).records(lines)


def test_what_was_sent_twice_is_read_once() -> None:
    sent = [stored(f"line {number}", offset=7 * number) for number in range(5)]
    assert len(search([*sent, *sent[2:], *sent])) == 5


def test_equal_lines_of_two_places_are_two() -> None:
    places: list[dict[str, Any]] = [{}, {"offset": 2}, {"host": "srv2"}, {"file": "/var/log/b.log"}]
    assert len(search([stored("[x]", **place) for place in places])) == 4


TRACEBACK = [
    "2026-11-29 00:16:42,123 ERROR foobar.site: no",
    "Traceback (most recent call last):",
    '  File "a.py"',
    "E: x",
]


def test_a_traceback_stays_one_record() -> None:
    """Another host's lines come in between."""
    lines = [
        entry
        for number, row in enumerate(TRACEBACK)
        for entry in (stored(row, offset=number), stored("Killed", host="srv2", offset=number))
    ]
    (found,) = search(lines, host="srv1")
    assert found.text == "ERROR foobar.site: no\n" + "\n".join(TRACEBACK[1:])
    assert search(lines, grep="E: x") == [found]
    assert do_logs.line(found).count("\n    ") == 3


def test_each_word_of_a_query_must_fit() -> None:
    lines = [
        stored(HAPROXY, host="lb", service="balancer"),
        stored(NGINX, service="web"),
        stored(ACCESS, service="app"),
        stored("2026-11-29 00:16:42,123 INFO x: y", service="app", offset=9),
    ]
    services = [found.service for found in search(lines, request=ID)]
    assert services == ["balancer", "web", "app"]
    assert [found.service for found in search(lines, level="error")] == ["web"]
    assert [found.service for found in search(lines, host="lb")] == ["balancer"]
    assert [found.service for found in search(lines, service="app", request=ID)] == ["app"]
    assert len(search(lines, since=1795911402.4475)) == 3
    assert len(search(lines, grep="www.foobar.com/")) == 1
    assert len(search(lines, grep='"status":502')) == 1
    assert search(lines, grep="nowhere") == []
    assert search(lines, request="c6b65f87") == []


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_every_text_that_was_logged_is_found_by_it(text: str) -> None:
    assert len(search([stored(f"[a] {text} b", offset=1), stored("[c]")], grep=text)) >= 1


def test_health_checks_are_shown_only_when_asked_for() -> None:
    lines = [
        stored(NGINX.replace("GET /", "GET /healthz")),
        stored("2026-11-29 00:16:42,123 INFO x: y", offset=5),
    ]
    assert len(search(lines)) == 1
    assert len(search(lines, grep="healthz")) == 1


# --- the store ----------------------------------------------------------------------------------------------------


def at(moment: float, text: str) -> bytes:
    read = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + ".000000+00:00"
    return stored(text, offset=int(moment * 1000)).replace(READ.encode(), read.encode())


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    return Pieces(str(tmp_path / logstore.NAME), 2 * len(stored("[0]")) + 2, logstore.PIECES)


def sent(*lines: bytes, number: int = 2) -> list[relp.Frame]:
    return [relp.Frame(b"%d" % at, b"syslog", line) for at, line in enumerate(lines, number)]


def test_the_store_is_bounded_and_loses_the_oldest(tmp_path: Path, pieces: Pieces) -> None:
    for number in range(10):
        assert confirmed(pieces, sent(stored(f"[{number}]"), number=number)) == b"%d rsp 6 200 OK\n" % number
    names = [logstore.NAME, *(f"{logstore.NAME}.{number}" for number in range(1, logstore.PIECES))]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(path.stat().st_mode & 0o777 == 0o640 for path in tmp_path.iterdir())
    with folders.opened(tmp_path) as folder:
        assert [found.text for found in search(logstore.stored(folder))] == [f"[{number}]" for number in range(2, 10)]


def test_the_writer_goes_on_where_it_was(tmp_path: Path, pieces: Pieces) -> None:
    for number in range(3):
        Pieces(pieces.path, pieces.size, pieces.most).write(stored(f"[{number}]") + b"\n")
    assert (tmp_path / logstore.NAME).read_bytes() == stored("[2]") + b"\n"


def test_lines_without_room_are_refused_whole(tmp_path: Path, pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is confirmed, and they are taken when they come again."""
    lines, write = [stored("[1]"), stored("[2]")], os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(lines[0]) + 5]))
    with pytest.raises(OSError, match=r"^no room$"):
        confirmed(pieces, sent(*lines))
    monkeypatch.undo()
    assert (tmp_path / logstore.NAME).read_bytes() == b""
    assert confirmed(pieces, sent(*lines)) == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"
    assert (tmp_path / logstore.NAME).read_bytes() == lines[0] + b"\n" + lines[1] + b"\n"


TALK = b"1 open 14 relp_version=0\n2 syslog 5 [a] b\n3 syslog 3 \n\n\n\n4 syslog 0\n5 close 0\n"


@given(st.lists(st.integers(0, len(TALK)), max_size=6))
def test_frames_are_the_same_however_they_come(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TALK)]
    frames = relp.Frames()
    seen = [frame for first, last in pairwise(edges) for frame in frames.of(TALK[first:last])]
    assert [frame.content for frame in seen] == [b"relp_version=0", b"[a] b", b"\n\n\n", b"", b""]
    assert [frame.command for frame in seen] == [b"open", b"syslog", b"syslog", b"syslog", b"close"]
    assert relp.answer(seen[0]) == relp.framed(b"1", b"rsp", b"200 OK\n" + relp.OFFER)
    assert relp.answer(seen[-1]) == b"5 rsp 0\n0 serverclose 0\n"


@pytest.mark.parametrize("content", [b"x" * 64, b"2 syslog 3 abcd", b"2 syslog 99999999 ", b"GET / HTTP/1.1\r\n" * 9])
def test_what_is_no_frame_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        list(relp.Frames().of(content))


def test_a_connection_is_confirmed_what_is_written_and_nothing_else(tmp_path: Path, pieces: Pieces) -> None:
    shipper, collector = socket.socketpair()
    with shipper, collector:
        thread = threading.Thread(target=serve, args=(collector, pieces))
        thread.start()
        shipper.sendall(b"2 syslog 3 [a]\n3 syslog 3 [b")
        assert shipper.recv(100) == b"2 rsp 6 200 OK\n"
        assert (tmp_path / logstore.NAME).read_bytes() == b"[a]\n"
        shipper.close()
        thread.join(5)
    assert (tmp_path / logstore.NAME).read_bytes() == b"[a]\n"


def test_raw_bytes_are_shown_as_such() -> None:
    (found,) = search([stored("[raw X]").replace(b"X", b"\xff\xfe")])
    assert found.text == "[raw \\xff\\xfe]"


def test_what_is_older_is_not_even_read(tmp_path: Path) -> None:
    """By halving: of 4 MiB only the last one or two are looked at."""
    lines = [at(READ_S + number / 10, f"[{number}] {'x' * 1000}") for number in range(4000)]
    (tmp_path / logstore.NAME).write_bytes(b"".join(line + b"\n" for line in lines))
    with folders.opened(tmp_path) as folder:
        seen = list(logstore.stored(folder, READ_S + 350))
    assert seen == lines[-len(seen) :]
    assert 500 <= len(seen) < 2500


def test_half_a_line_is_not_read_yet(tmp_path: Path) -> None:
    (tmp_path / logstore.NAME).write_bytes(stored("[1]") + b"\n" + stored("[2]")[:-5])
    with folders.opened(tmp_path) as folder:
        assert [found.text for found in search(logstore.stored(folder))] == ["[1]"]


@pytest.fixture
def follow(tmp_path: Path) -> Callable[[Cursor], tuple[list[str], Cursor]]:
    def news(cursor: Cursor) -> tuple[list[str], Cursor]:
        with folders.opened(tmp_path) as folder:
            lines, place = logstore.news(folder, cursor)
        return [found.text for found in search(lines)], place

    return news


def test_following_goes_on_through_a_new_piece(tmp_path: Path, follow: Callable[[Cursor], Any]) -> None:
    current = tmp_path / logstore.NAME
    with current.open("ab", buffering=0) as piece:
        piece.write(stored("[1]") + b"\n")
        with folders.opened(tmp_path) as folder:
            cursor = logstore.end(folder)
        assert follow(cursor) == ([], cursor)
        piece.write(stored("[2]") + b"\n" + stored("[3]")[:9])
        seen, cursor = follow(cursor)
        assert seen == ["[2]"]
        piece.write(stored("[3]")[9:] + b"\n")
    current.rename(tmp_path / f"{logstore.NAME}.1")
    current.write_bytes(stored("[4]") + b"\n")
    texts = []
    for _ in range(3):
        seen, cursor = follow(cursor)
        texts += seen
    assert texts == ["[3]", "[4]"]


def test_a_store_that_is_not_there_yet_has_nothing(follow: Callable[[Cursor], Any]) -> None:
    assert follow(Cursor()) == ([], Cursor())


def test_an_answer_says_what_it_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logsearch, "MOST", 2)
    answer = logsearch.answer(LogQuery(), [stored(f"[{number}]", offset=number) for number in range(5)], Cursor(1, 2))
    assert [row["text"] for row in answer["records"]] == ["[3]", "[4]"]
    assert (answer["left_off"], answer["cut"], answer["cursor"]) == (3, 0, {"inode": 1, "position": 2})


# --- as it is shown -----------------------------------------------------------------------------------------------


def test_a_request_is_shown_with_the_milliseconds_between_the_tiers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [stored(ACCESS), stored(NGINX, service="web"), stored(HAPROXY, host="lb", service="balancer")]
    do_logs.show_request(ID, [*search(lines, request=ID), *statements(SLOW)], follows=False)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0][-4:] for row in rows] == [".444", ".445", ".446", ".446"]
    assert [row.split()[1] for row in rows[1:]] == ["+1.0", "+1.2", "+0.4"]
    assert [part in row for part, row in zip(("lb/balancer", "srv1/web", "srv1/app", "srv1/db"), rows, strict=True)]


def test_a_tier_that_has_nothing_of_a_request_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    do_logs.show_request(ID, search([stored(ACCESS)], request=ID), follows=False)
    assert capsys.readouterr().err == "not in the log of: balancer, web, db\n"


def test_what_a_stranger_sent_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    do_logs.show_request(ID, [replace(record(ACCESS), text="\x1b[2J\nfaked")], follows=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\n    faked" in out


@pytest.mark.parametrize(("text", "length"), [("30s", 30), ("5m", 300), ("1h", 3600), ("0.5s", 0.5), ("2d", 172800)])
def test_lengths_of_time(text: str, length: float) -> None:
    assert seconds("--since", text) == length
