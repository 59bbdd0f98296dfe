"""Following logs: each line once, whatever happens to the file; other bytes are counted, and nothing dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import logfiles
from services.monitoring.accesslog import AppRequests, WebRequests, group, parsed
from services.monitoring.logfollower import LINE_BYTES, LogFollower
from services.monitoring.metric import Metric
from topo import folders

WEB = (
    b'{"time":1795911306.307,"request_id":"5f","from":"10.0.2.10:38142","request":"GET /messages?before=7 HTTP/1.1",'
    b'"status":200,"bytes":2310,"seconds":0.011,"upstream":"127.0.0.1:8000","upstream_seconds":"0.011"}'
)
APP = (
    b'{"time":1795911306.307,"request_id":"5f","from":"10.0.1.10","request":"POST /login HTTP/1.1","status":401,'
    b'"bytes":1810,"seconds":0.251}'
)
#: steps of a log's life; "moved": rotated by somebody who is slow, so that each of its moments is looked at
STEPS = st.lists(st.sampled_from(["write", "write", "look", "part", "rotate", "moved"]), max_size=30)


class WrittenLog:
    """A log whose lines are numbered, and all that a follower has said of it."""

    def __init__(self, folder: Path, look_bytes: int) -> None:
        self.path = folder / "a.log"
        self.follower = LogFollower(str(self.path), look_bytes)
        self.written: list[bytes] = []
        self.told: list[bytes] = []
        self.part = b""

    def append(self, content: bytes) -> None:
        with self.path.open("ab") as log:
            log.write(content)

    def write(self) -> None:
        line = b"%d %s" % (len(self.written), b"x" * (len(self.written) * 7 % 40))
        self.append(line[len(self.part) :] + b"\n")
        self.part = b""
        self.written.append(line)

    def begin_a_line(self) -> None:
        if not self.part:
            self.part = b"%d " % len(self.written)
            self.append(self.part)

    def look(self) -> None:
        self.told += self.follower.lines()

    def catch_up(self) -> None:
        self.look()
        while self.follower.behind:
            self.look()

    def rotate(self) -> None:
        self.write()
        self.catch_up()  # a log that is filled between two looks is not followed: that takes 32 MiB in a second
        for _ in range(4):
            self.write()
        with folders.opened(self.path.parent) as folder:
            logfiles.rotate(folder, self.path.name, 1)

    def move(self) -> None:
        self.write()
        self.catch_up()
        self.write()
        before = self.path.read_bytes()
        Path(logfiles.before(str(self.path))).write_bytes(before)
        self.write()
        self.look()
        since = self.path.read_bytes()[len(before) :]
        os.truncate(self.path, 0)
        self.look()
        self.look()
        self.append(since)
        self.look()


@settings(deadline=None)
@given(steps=STEPS, look_bytes=st.sampled_from([30, 1 << 20]))
def test_each_line_is_told_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str], look_bytes: int) -> None:
    log = WrittenLog(tmp_path_factory.mktemp("log"), look_bytes)
    does: dict[str, Callable[[], None]] = {
        "write": log.write,
        "look": log.look,
        "part": log.begin_a_line,
        "rotate": log.rotate,
        "moved": log.move,
    }
    for step in steps:
        does[step]()
    log.write()
    for _ in range(3):
        log.catch_up()
    assert log.told == log.written


def test_one_that_is_emptied_by_hand_is_read_from_its_beginning(tmp_path: Path) -> None:
    """Also one that has grown beyond the place again: its size alone would not tell."""
    log = WrittenLog(tmp_path, 1 << 20)
    log.append(b"one\ntwo\nhal")
    assert [*log.follower.lines()] == [b"one", b"two"]
    log.path.write_bytes(b"three\nfour\nfive\nsix\n")
    assert [*log.follower.lines()] == [b"three", b"four", b"five", b"six"]
    log.path.unlink()
    assert [*log.follower.lines()] == []
    log.path.write_bytes(b"seven\n")
    assert [*log.follower.lines()] == [b"seven"]


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_what_is_no_log_is_not_read(tmp_path: Path, what: str) -> None:
    (tmp_path / "secret").write_text("password\n")
    make: dict[str, Callable[[], object]] = {
        "link": lambda: (tmp_path / "a.log").symlink_to(tmp_path / "secret"),
        "pipe": lambda: os.mkfifo(tmp_path / "a.log"),
        "folder": (tmp_path / "a.log").mkdir,
    }
    make[what]()
    assert [*LogFollower(str(tmp_path / "a.log")).lines()] == []


def test_a_line_that_is_too_long_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    follower = LogFollower(str(tmp_path / "a.log"), 1 << 14)
    (tmp_path / "a.log").write_bytes(b"first\n" + b"x" * (3 * LINE_BYTES) + b"\nlast\n")
    told = [line for _ in range(20) for line in follower.lines()]
    assert told == [b"first", b"last"]
    assert follower.refused == 1


def values(metrics: list[Metric]) -> dict[str, float]:
    """By name and labels, without the buckets."""
    return {
        ":".join((metric.name + sample.suffix, *sample.labels)): sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.suffix != "_bucket"
    }


def test_requests_are_counted_and_other_lines_are_too(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(WEB + b"\n" + WEB + b"\n")  # it began before the exporter
    web = WebRequests(str(log))
    with log.open("ab") as lines:
        lines.write(WEB.replace(b"200", b"503") + b"\n" + b"\xff\xfe\x00raw\n[1]\n{}\nnull\n" + b"y" * 70_000 + b"\n")
        lines.write(WEB.replace(b"0.011", b"NaN") + b"\n" + b"[" * 20_000 + b"\n" + WEB[:50])
    assert values([*web.metrics()]) == {
        "web_requests_total:/messages:200": 2,
        "web_requests_total:/messages:503": 1,
        "web_request_seconds_sum:/messages": pytest.approx(0.033),
        "web_request_seconds_count:/messages": 3,
        "web_lines_refused_total": 7,
    }


def test_log_ins_are_answers_to_a_post(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    lines = [APP, APP.replace(b"401", b"303"), APP.replace(b"401", b"429"), APP.replace(b"401", b"500")]
    lines += [APP.replace(b"POST", b"GET").replace(b"401", b"429"), APP.replace(b"/login", b"/messages")]
    log.write_bytes(b"".join(line + b"\n" for line in lines))
    told = values([*AppRequests(str(log), "no.such.module").metrics()])
    assert (told["app_logins_total:ok"], told["app_logins_total:failed"]) == (1, 2)
    assert told["app_requests_total:/login:401"] == 1
    assert told["app_workers"] == 0


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/?a=/login", "/"),
        ("/login?name=x", "/login"),
        ("/login/", "other"),
        ("/static/style.css", "/static/"),
        ("/staticstyle.css", "other"),
        ("/../etc/passwd", "other"),
        ("https://elsewhere.org/", "other"),
        ("", "other"),
    ],
)
def test_paths_are_in_few_groups(target: str, path: str) -> None:
    assert group(target) == path


@given(st.binary(max_size=200) | st.sampled_from([WEB, APP]))
def test_any_bytes_are_a_request_or_refused(line: bytes) -> None:
    try:
        request = parsed(line)
    except ValueError:
        return
    assert 100 <= request.status <= 999
