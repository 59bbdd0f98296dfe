"""The failover manager's connections: waited on and cut by public means; a failed thread ends the process."""

from __future__ import annotations

import ast
import inspect
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from pymysql import connections, cursors
from syntax import tree

from services.failover.controlconnection import COMMITTING, SESSIONS, ControlConnection
from services.mariadb.connection import DatabaseConnection
from topo.errors import RefusedError
from topo.eventlog import EventLog, events_in

PROJECT = Path(__file__).resolve().parent.parent
CODE = ("topo", "controllers", "services", "testbed", "experiments", "benchmarks", "tests")
OK = b"\x07\x00\x00%c\x00\x00\x00\x02\x00\x00\x00"
GREETING = (
    b"\x0a10.11.6-MariaDB\x00" + b"\x01\x00\x00\x00" + b"saltsalt" + b"\x00" + b"\xff\xf7" + b"\x21" + b"\x02\x00"
    b"\xff\x81" + b"\x15" + b"\x00" * 10 + b"saltsaltsalt\x00" + b"mysql_native_password\x00"
)


class FakeMariaDB:
    """Greets, believes any password, answers every statement with OK, and remembers what it was sent."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.login = {"host": "127.0.0.1", "port": self.listening.getsockname()[1], "user": "u", "password": "p"}
        self.sent: list[bytes] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self.listening.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as stream:
            connection.sendall(len(GREETING).to_bytes(3, "little") + b"\x00" + GREETING)
            while head := stream.read(4):
                self.sent.append(stream.read(int.from_bytes(head[:3], "little")))
                connection.sendall(OK % (head[3] + 1))
                if self.sent[-1].endswith(b"bye"):
                    break
        self.ended.set()


@pytest.fixture
def server() -> Iterator[FakeMariaDB]:
    server = FakeMariaDB()
    yield server
    server.listening.shutdown(socket.SHUT_RDWR)
    server.listening.close()
    server.thread.join(2)


def test_it_runs_statements_shows_whether_something_came_and_is_cut_without_a_good_bye(server: FakeMariaDB) -> None:
    connection = DatabaseConnection({**server.login, "ssl_disabled": True}, 1.0, 1.0)
    assert connection.query("SET autocommit = 1") == []
    assert not connection.readable(0.01)
    connection.cut()
    assert server.ended.wait(2)
    assert server.sent[-1] == b"\x03SET autocommit = 1", "no COM_QUIT (01) after it"
    connection.cut()


def test_a_balancer_that_accepts_and_has_no_server_is_given_up(server: FakeMariaDB) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError, match="no greeting"):
        DatabaseConnection({**server.login, "port": silent.getsockname()[1]}, 0.05, 1.0)


def test_the_end_of_a_connection_is_something_to_read(server: FakeMariaDB) -> None:
    connection = DatabaseConnection({**server.login, "ssl_disabled": True}, 1.0, 1.0)
    connection.query("bye")
    assert connection.readable(2)
    connection.cut()


# --- waiting in a server's own time -------------------------------------------------------------------------------


def test_a_long_wait_is_made_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no wait within the server is longer than the time which a connection gives it for an answer."""
    asked: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(asked))
    monkeypatch.setattr("services.failover.controlconnection.time", clock)
    control = ControlConnection({}, lossless=True, promised={})

    def run(*statements: str, values: tuple[object, ...] = ()) -> list[dict[str, object]]:
        asked.append(float(str(values[1])))
        return [{"late": 0 if len(asked) == 5 else -1}]

    monkeypatch.setattr(control, "run", run)
    assert control.wait_for("0-1-9", 30.0) is True
    assert asked == [2.0] * 5
    asked.clear()
    assert control.wait_for("0-1-9", 3.0) is False
    assert asked == [2.0, 1.0]
    assert control.wait_for("", 3.0) is True


# --- pymysql's private parts --------------------------------------------------------------------------------------


@cache
def privates() -> frozenset[str]:
    """The private attributes of pymysql's connections and cursors."""
    trees = [ast.parse(inspect.getsource(module)) for module in (connections, cursors)]
    names = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return frozenset(name for name in names if name.startswith("_") and not name.endswith("__"))


def intrusions(source: str) -> list[str]:
    """Uses of such an attribute on anything but ``self`` in a module that imports pymysql."""
    if "pymysql" not in source:
        return []
    module = tree(source)
    imported = any(
        "pymysql" in ast.unparse(node) for node in ast.walk(module) if isinstance(node, ast.Import | ast.ImportFrom)
    )
    return [
        ast.unparse(node)
        for node in ast.walk(module)
        if imported
        and isinstance(node, ast.Attribute)
        and node.attr in privates()
        and ast.unparse(node.value) not in ("self", "cls")
    ]


def test_no_private_attribute_of_pymysql_is_used() -> None:
    files = [path for folder in CODE for path in (PROJECT / folder).rglob("*.py")]
    used = {str(path.relative_to(PROJECT)): found for path in files if (found := intrusions(path.read_text()))}
    assert used == {}


@pytest.mark.parametrize("use", ["a._sock", "self._connection._force_close()", "b[0]._read_timeout = 3"])
def test_such_a_use_is_seen(use: str) -> None:
    assert len(intrusions(f"import pymysql\n{use}")) == 1


# --- a thread of the manager --------------------------------------------------------------------------------------


def test_a_thread_that_fails_ends_the_manager() -> None:
    """The supervisor starts it again; a manager with half of its threads would take a living server for silent."""
    code = (
        "import threading, time; from services.failover.__main__ import end_process;"
        "threading.excepthook = end_process; threading.Thread(target=lambda: 1 / 0).start(); time.sleep(5)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_full_disk_under_the_event_log_ends_no_manager() -> None:
    EventLog(Path("/dev/full")).note("waiting", why="lost, and nothing else is")


def test_a_line_that_was_torn_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "failover.log"
    log, write = EventLog(path), os.write
    log.note("first")
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
    log.note("torn")
    monkeypatch.undo()
    log.note("last")
    assert [event["event"] for event in events_in(path.read_bytes())] == ["first", "last"]


@pytest.mark.parametrize("state", COMMITTING)
def test_no_session_is_ended_while_one_waits_in_its_commit(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Its transaction would stay in the log and not in the tables: this server could never follow another."""
    said = answered(monkeypatch, [{"ID": 7, "STATE": "User sleep"}, {"ID": 8, "STATE": state}])
    with pytest.raises(RefusedError, match=r"^1 sessions wait in their commit: to end them would tear the log$"):
        ControlConnection({}, True, {}).end_sessions()
    assert said == [SESSIONS]


def test_sessions_that_may_hold_a_lock_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    said = answered(monkeypatch, [{"ID": 7, "STATE": "User sleep"}, {"ID": 8, "STATE": "Waiting for backup lock"}])
    ControlConnection({}, True, {}).end_sessions()
    assert said == [SESSIONS, "KILL HARD CONNECTION 7", "KILL HARD CONNECTION 8"]


def answered(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]]) -> list[str]:
    """The statements that are run from now on, each of which is answered with these rows."""
    said: list[str] = []

    def run(_: ControlConnection, *statements: str, values: tuple[object, ...] = ()) -> list[dict[str, object]]:
        said.extend(statements)
        return rows

    monkeypatch.setattr(ControlConnection, "run", run)
    return said
