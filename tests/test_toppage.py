"""The page of ``top``: every line fits, old values are never shown as if true; the terminal is left as it was."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from testbed import toppage
from topo import wait

PROJECT = Path(__file__).resolve().parent.parent
HOSTS = ["dns", "lb", "srv1", "srv2", "srv3", "mon"]
SIZES = [(80, 24), (120, 40), (40, 10), (10, 3)]


def value(name: str, number: float, **labels: str) -> list[Any]:
    return [name, labels, number]


def alert(name: str, number: int = 0) -> dict[str, Any]:
    since = f"2025-01-01T00:00:{number:02}.000+00:00"
    return {"alert": name, "host": "srv1", "since": since, "summary": "srv1: its web is down", "hint": "status; " * 20}


def answer(**other: Any) -> dict[str, Any]:
    """A testbed with much to tell."""
    values = [value("age", 0.4, host=host) for host in HOSTS]
    values += [value("cpu", 1.234, host=host) for host in HOSTS]
    values += [value("memory", 123e6, host=host) for host in HOSTS]
    for host in ("srv1", "srv2", "srv3"):
        values += [value("answers", 12345, host=host, status="200"), value("answers", 77, host=host, status="503")]
        values += [value("p50", 0.004, host=host), value("p99", 1.234, host=host)]
        values += [value("balancer", 1, server=host, state="UP"), value("writable", float(host == "srv1"), host=host)]
    values += [value("replicating", 1, host="srv2"), value("replicating", 0, host="srv3"), value("lag", 2, host="srv2")]
    values += [value("site", 3000, code="2xx"), value("site", 30, code="5xx"), value("site p50", 0.01)]
    values += [value("dropping", number, switch="fw1", rule=f"r{number}") for number in range(9)]
    values += [value("dropped", 9 * number + 1, switch="fw1", rule=f"r{number}") for number in range(9)]
    whole = {
        "title": "foobar  profile seed " + "--tls mutual " * 9,
        "time": 1700000000.0,
        "hosts": HOSTS,
        "faults": [f"kill srv{number} web" for number in range(9)],
        "problem": "",
        "values": values,
        "alerts": [alert("ServerDown", number) for number in range(9)],
        "note": "catching up",
    }
    return {**whole, **other}


def text(content: dict[str, Any], age: float = 0.0, width: int = 80, height: int = 24) -> str:
    return "\n".join(line.plain for line in toppage.page(content, age, width, height))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_line_fits(width: int, height: int) -> None:
    for content in (answer(), answer(hosts=[f"srv{number}" for number in range(1, 31)]), answer(problem="x" * 300)):
        lines = toppage.page(content, 0.0, width, height)
        assert len(lines) <= height
        assert max(line.cell_len for line in lines) <= width


def test_the_values_are_there() -> None:
    page = text(answer(), width=120, height=40)
    for words in ("3030 req/s", "errors 1.0 %", "12k", "123%", "1.2s", "primary", "replica", "stopped", "ServerDown"):
        assert words in page, page
    narrow = text(answer())
    for words in ("alerts: 9", "fault in force: kill srv0 web", "more", "fw1"):
        assert words in narrow, narrow


def test_without_trouble_it_says_so() -> None:
    values = [row for row in answer()["values"] if row[0] not in ("dropped", "dropping")]
    page = text(answer(alerts=[], note="", faults=[], values=values))
    assert "alerts: none" in page
    assert "nothing" in page


def test_a_silent_host_has_no_values() -> None:
    values = [row for row in answer()["values"] if row[:2] != ["age", {"host": "srv2"}]]
    page = text(answer(values=[*values, value("age", 7.2, host="srv2")]))
    (line,) = (line for line in page.splitlines() if line.startswith("srv2"))
    assert line == "srv2   no news for 7 s"
    (line,) = (line for line in text(answer(values=values)).splitlines() if line.startswith("srv2"))
    assert line == "srv2   no news yet"


@pytest.mark.parametrize(
    ("content", "age", "words"),
    [
        (answer(), 3.5, "no news for 4 s: the testbed does not answer"),
        (answer(problem="mon's Prometheus does not answer", values=[]), 12.0, "no news for 12 s: mon's Prometheus"),
    ],
)
def test_old_values_are_not_shown(content: dict[str, Any], age: float, words: str) -> None:
    page = text(content, age)
    assert words in page
    assert "primary" not in page
    assert "fault in force" in page, "that is known without Prometheus"
    assert "primary" in text(answer(), 2.0), "a negative control: what is young enough is shown"


# --- the terminal --------------------------------------------------------------------------------------------------

SHOWS = """
from rich.text import Text
import os, signal
from testbed import terminalpage
calls = []
def draw(width, height):
    calls.append(1)
    if {fails} and len(calls) > 2: raise RuntimeError("drawn wrongly")
    if {drawing} and len(calls) > 2: os.kill(os.getpid(), signal.SIGINT)
    return [Text(f"size {{width}}x{{height}}")]
terminalpage.show(draw)
print("left")
"""


class PageTerminal:
    """A process on a terminal of its own, and all that it has written there."""

    def __init__(self, code: str) -> None:
        self.screen, ours = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(ours)
        self.shown = b""
        self._ours = ours
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            stdin=ours,
            stdout=ours,
            stderr=ours,
            # not the size of another terminal
            env={name: word for name, word in os.environ.items() if name not in ("COLUMNS", "LINES")}
            | {"TERM": "xterm"},
            start_new_session=True,
        )

    def resize(self, width: int, height: int) -> None:
        ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def wait_for(self, words: bytes) -> None:
        def look() -> str | None:
            while select.select([self.screen], [], [], 0)[0]:
                self.shown += os.read(self.screen, 65536)
            return None if words in self.shown else repr(self.shown[-300:])

        wait.until(look, what=f"{words!r} on the terminal", seconds=10)

    def ended(self) -> int:
        code = self.process.wait(10)
        assert termios.tcgetattr(self._ours) == self.before
        self.wait_for(b"\x1b[?1049l")  # back from the other screen
        self.wait_for(b"\x1b[?25h")  # the cursor is shown
        return code


@contextmanager
def terminal(*, fails: bool = False, drawing: bool = False) -> Iterator[PageTerminal]:
    """``drawing``: a Ctrl-C comes while the page is drawn."""
    terminal = PageTerminal(SHOWS.format(fails=fails, drawing=drawing))
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.screen)
        os.close(terminal._ours)


@pytest.mark.parametrize("leave", ["q", "interrupt", "drawing", "terminate", "exception"])
def test_the_terminal_is_as_before(leave: str) -> None:
    with terminal(fails=leave == "exception", drawing=leave == "drawing") as shown:
        shown.wait_for(b"size 80x24")
        assert termios.tcgetattr(shown._ours) != shown.before, "a negative control: keys come at once"
        if leave == "q":
            os.write(shown.screen, b"q")
        elif leave in ("interrupt", "terminate"):
            shown.process.send_signal(signal.SIGINT if leave == "interrupt" else signal.SIGTERM)
        assert shown.ended() == {"q": 0, "interrupt": 0, "drawing": 0, "terminate": 130, "exception": 1}[leave]


def test_another_size_and_a_pause() -> None:
    with terminal() as shown:
        shown.wait_for(b"size 80x24")
        shown.resize(120, 40)
        shown.wait_for(b"size 120x40")
        shown.process.send_signal(signal.SIGTSTP)
        stopped = f"/proc/{shown.process.pid}/stat"
        wait.until(lambda: None if ") T " in Path(stopped).read_text() else "runs", what="it stops", seconds=10)
        assert termios.tcgetattr(shown._ours) == shown.before
        shown.process.send_signal(signal.SIGCONT)
        wait.until(lambda: None if termios.tcgetattr(shown._ours) != shown.before else "same", what="it", seconds=10)
        os.write(shown.screen, b"q")
        assert shown.ended() == 0
