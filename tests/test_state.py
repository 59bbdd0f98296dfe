"""The state of running testbeds: locks decide who lives, nothing stale or corrupt is believed."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

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


def test_what_a_dead_launcher_left_is_swept_away(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps({**ENTRY.__dict__, "launcher": 1}))
    (folder / "a.sock").touch()
    assert state.entry("a") is None
    assert list(folder.iterdir()) == []


def test_a_stale_file_does_not_keep_a_name(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps(ENTRY.__dict__))
    (folder / "a.sock").touch()
    claim = claimed("a", pid=1)
    assert state.the("a").pid == 1
    claim.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null", '{"name": "a"}', '{"unknown": 1}', "\x00\xff"])
def test_corrupt_files_of_the_dead_are_swept_away(folder: Path, text: str) -> None:
    (folder / "a.json").write_bytes(text.encode("latin-1"))
    assert state.running() == []
    assert list(folder.iterdir()) == []


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
            (folder / "a.json").write_text("stale")
            claimed("a").release()
    finally:
        stop.set()
        looking.join()


def test_the_folder_of_an_ordinary_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid or 1000)
    monkeypatch.setattr(Path, "stat", _owned_by(uid or 1000))
    monkeypatch.delenv("FOOBAR_STATE", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert state.folder() == tmp_path / "foobar"
    assert stat.S_IMODE(os.stat(tmp_path / "foobar").st_mode) == 0o700
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))  # type: ignore[attr-defined]
    assert state.folder() == tmp_path / f"foobar-{uid or 1000}"


def test_somebody_elses_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(Path, "stat", _owned_by(4321))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="belongs to another user; set XDG_RUNTIME_DIR to a folder of your own"):
        state.folder()


def _owned_by(uid: int) -> object:
    real = Path.stat

    def stat_(self: Path, **options: bool) -> object:
        values = list(real(self, **options))
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
