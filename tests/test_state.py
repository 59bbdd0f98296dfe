"""The state of running testbeds: locks decide who lives, nothing stale or corrupt is believed."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_folders import seen

from testbed import state
from testbed.state import Claim, Entry
from topo.errors import RefusedError, UsageError

ENTRY = Entry("a", "up", os.getpid(), 4242, "2025-01-01T00:00:00+00:00", {"tls": "terminate"}, {"client": 7})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "folder", lambda: tmp_path)
    return tmp_path


def claimed(name: str, **changes: object) -> Claim:
    claim = Claim(name)
    claim.write(replace(ENTRY, name=name, **changes))  # type: ignore[arg-type]
    return claim


def test_a_claim_is_seen_until_it_is_released(folder: Path) -> None:
    claim = claimed("a")
    assert state.entry("a") == ENTRY
    assert state.running() == [ENTRY]
    claim.release()
    assert state.entry("a") is None
    assert list(folder.iterdir()) == []


def test_a_later_shorter_entry_replaces_the_whole_text(folder: Path) -> None:
    claim = claimed("a", profile={"x": "long" * 100})
    claim.write(ENTRY)
    assert state.entry("a") == ENTRY
    claim.release()


def test_a_name_is_taken_once(folder: Path) -> None:
    claim = claimed("a")
    with pytest.raises(UsageError) as caught:
        Claim("a")
    assert str(caught.value) == "a testbed named a is running; choose another --name, or end it with: down a"
    claimed("b").release()
    claim.release()
    claimed("a").release()


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a/b", "../a", "a" * 32, "ü", "a\n"])
def test_a_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="use up to 31 lower-case letters, digits and dashes"):
        Claim(name)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "a/../../outside"])
def test_nothing_outside_the_folder_is_looked_at_let_alone_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "state" / "a").mkdir(parents=True)
    monkeypatch.setattr(state, "folder", lambda: tmp_path / "state")
    precious = tmp_path / "outside.json"
    precious.write_text("{}")
    with pytest.raises(UsageError):
        state.the(name)
    assert precious.exists()


def left_by_a_dead_one(folder: Path, name: str = "a") -> None:
    (folder / f"{name}.json").write_text(json.dumps({**ENTRY.__dict__, "name": name}))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / f"{name}.sock"))


def test_what_a_dead_launcher_left_is_swept_away(folder: Path) -> None:
    left_by_a_dead_one(folder)
    assert state.entry("a") is None
    assert list(folder.iterdir()) == []


def test_a_stale_file_does_not_keep_a_name(folder: Path) -> None:
    left_by_a_dead_one(folder)
    claim = claimed("a", pid=7)
    assert state.the("a").pid == 7
    claim.release()


STRANGE = [
    "",
    "{",
    "[]",
    '"text"',
    "null",
    '{"name": "a"}',
    '{"unknown": 1}',
    "\x00\xff",
    '{"version": "1.0.0"}',
    "[" * 9999,
]


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize("name", ["a", "package", "Settings", "a.b"])
def test_what_is_no_entry_of_ours_is_neither_removed_nor_written_to(folder: Path, name: str, text: str) -> None:
    """``FOOBAR_STATE=. foobar status`` in a project's folder must not remove its package.json."""
    for file in (folder / f"{name}.json", folder / f"{name}.sock"):
        file.write_bytes(text.encode("latin-1"))
    before = seen(folder)
    assert (state.running(), state.entry(name)) == ([], None)
    with pytest.raises(UsageError, match=f"{name}"):
        Claim(name)
    after = seen(folder)
    assert after == before


def test_an_entry_that_is_none_of_ours_is_not_removed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link, another kind of file, an entry under another's name: only what a testbed of that name wrote is ours."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    left_by_a_dead_one(elsewhere)
    (folder / "a.json").symlink_to(elsewhere / "a.json")
    (folder / "a.sock").symlink_to(elsewhere / "a.sock")
    (folder / "b.json").mkdir()
    os.mkfifo(folder / "c.json")
    (folder / "d.json").write_text(json.dumps(ENTRY.__dict__))
    before = [(path.name, path.lstat()) for path in (*sorted(folder.iterdir()), *sorted(elsewhere.iterdir()))]
    assert state.running() == []
    for name in "abcd":
        with pytest.raises(UsageError, match=rf"/{name}\.json: "):
            Claim(name)
    after = [(path.name, path.lstat()) for path in (*sorted(folder.iterdir()), *sorted(elsewhere.iterdir()))]
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(os.path.samestat(one, other) for (_, one), (_, other) in zip(before, after, strict=True))


# --- signals --------------------------------------------------------------------------------------------------------

NO_PIDS = [-1, 0, 1, -7, 2**31, 2**64, 1.5, True, "7", None, [7]]


@pytest.mark.parametrize("pid", NO_PIDS, ids=str)
@pytest.mark.parametrize("where", ["launcher", "pid", "hosts"])
def test_a_pid_that_is_none_is_not_believed(where: str, pid: object) -> None:
    value = {"client": pid} if where == "hosts" else pid
    text = json.dumps({**ENTRY.__dict__, where: value}).encode()
    harmless = type(pid) is int and (where, pid) in (("pid", 0), ("pid", 1), ("hosts", 1))  # booting; first in a host
    assert (state.parsed(text, "a") is None) is not harmless
    assert state.parsed(json.dumps(ENTRY.__dict__).encode(), "a") == ENTRY


@pytest.fixture
def stranger() -> Iterator[int]:
    """The pid of somebody else's process."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("pid", [*NO_PIDS, "a stranger"], ids=str)
def test_only_the_launcher_is_ever_signalled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stranger: int, pid: object
) -> None:
    """Whatever pid stands in a state file: ``kill(-1)`` ends everything that its owner runs."""
    signalled: list[int] = []

    def note(process: int, number: int) -> None:
        signalled.append(int(Path(f"/proc/self/fdinfo/{process}").read_text().split("Pid:")[1].split()[0]))

    monkeypatch.setattr(signal, "pidfd_send_signal", note)
    claim = claimed("a")
    value = stranger if pid == "a stranger" else pid
    claim.file.write_text(json.dumps({**ENTRY.__dict__, "launcher": value}))
    testbed = state.the("a")
    state.send(testbed, signal.SIGTERM)
    assert signalled == [os.getpid()], "the one that holds the file, found by its socket"
    claim.release()
    state.send(testbed, signal.SIGTERM)
    assert signalled == [os.getpid()], "it has gone, and nobody takes its place"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "a"}', "\x00\xff"])
def test_a_corrupt_file_of_a_living_one_is_neither_believed_nor_removed(folder: Path, text: str) -> None:
    """Its testbed can still be found and ended: who holds the socket is asked of the kernel."""
    claim = claimed("a")
    claim.file.write_bytes(text.encode("latin-1"))
    found = state.the("a")
    assert (found.name, found.launcher, found.hosts) == ("a", os.getpid(), {})
    assert found.phase != "up"
    with pytest.raises(UsageError, match="a testbed named a is running"):
        Claim("a")
    claim.release()


def test_which_testbed_is_meant(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"^no testbed is running; start one with: up --detach$"):
        state.the(None)
    one = claimed("b")
    assert state.the(None).name == "b"
    with pytest.raises(UsageError, match=r"^no testbed named c is running; running: b$"):
        state.the("c")
    two = claimed("a")
    with pytest.raises(UsageError, match=r"^several testbeds are running; say which with --name: a, b$"):
        state.the(None)
    default = claimed(state.DEFAULT_NAME)
    assert state.the(None).name == state.DEFAULT_NAME
    for claim in (one, two, default):
        claim.release()


def test_only_its_owner_may_talk_to_it(folder: Path) -> None:
    claim = claimed("a")
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    claim.release()


def test_the_lock_is_not_inherited_by_children(folder: Path) -> None:
    claim = claimed("a")
    assert claim._descriptor is not None
    assert not os.get_inheritable(claim._descriptor)
    claim.release()


def test_somebody_who_only_looks_does_not_take_a_name(folder: Path) -> None:
    """`status` in a loop beside `up`: the look's short lock on a stale file must not make the claim fail."""
    stop = threading.Event()

    def keep_looking() -> None:
        while not stop.is_set():
            state.running()

    looking = threading.Thread(target=keep_looking)
    looking.start()
    try:
        for _ in range(200):
            (folder / "a.json").write_text(json.dumps(ENTRY.__dict__))
            claimed("a").release()
    finally:
        stop.set()
        looking.join()


def test_the_folder_of_an_ordinary_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid or 1000)
    monkeypatch.setattr(os, "fstat", _owned_by(uid or 1000))
    monkeypatch.delenv("FOOBAR_STATE", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert state.folder() == tmp_path / "foobar"
    assert stat.S_IMODE(os.stat(tmp_path / "foobar").st_mode) == 0o700
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))  # type: ignore[attr-defined]
    assert state.folder() == tmp_path / f"foobar-{uid or 1000}"


def test_somebody_elses_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "fstat", _owned_by(4321))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("FOOBAR_STATE", raising=False)
    with pytest.raises(UsageError, match="belongs to another user; or set FOOBAR_STATE to a folder of your own"):
        state.folder()


def test_a_folder_that_others_may_write_in_or_that_is_a_link_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may make /tmp/foobar-1000 before its user does: a link to a folder of that user's with JSON files."""
    there = tmp_path / "there"
    there.mkdir()
    left_by_a_dead_one(there)
    before = seen(there)
    (tmp_path / f"foobar-{os.geteuid() or 1000}").symlink_to(there)
    for variable in ("FOOBAR_STATE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))  # type: ignore[attr-defined]
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid or 1000)
    monkeypatch.setattr(os, "fstat", _owned_by(uid or 1000))
    with pytest.raises(UsageError, match=r"foobar-.*: a symbolic link, which is not followed here"):
        state.running()
    for mode in (0o777, 0o1777, 0o770):
        there.chmod(mode)
        monkeypatch.setenv("FOOBAR_STATE", str(there))
        with pytest.raises(UsageError, match="other users may write in it; chmod go-w "):
            state.running()
    there.chmod(0o755)
    assert seen(there) == before


def _owned_by(uid: int) -> object:
    real = os.fstat

    def stat_(descriptor: int) -> object:
        values = list(real(descriptor))
        values[stat.ST_UID] = uid
        return os.stat_result(values)

    return stat_


def test_a_folder_too_deep_for_a_socket_is_a_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 110)
    deep.mkdir()
    monkeypatch.setattr(state, "folder", lambda: deep)
    with pytest.raises(UsageError, match="too long for a socket; set XDG_RUNTIME_DIR"):
        Claim("a")


def test_a_testbed_that_is_booting_or_leaving_is_refused_where_a_running_one_is_needed(folder: Path) -> None:
    claim = claimed("a", phase="booting", hosts={}, pid=0)
    with pytest.raises(RefusedError, match=r"^testbed a is booting: try again when it is up$"):
        state.up("a")
    claim.write(ENTRY)
    assert state.up("a") == ENTRY
    claim.release()


def test_sockets_are_no_names(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "a.sock"))
    assert state.running() == []
