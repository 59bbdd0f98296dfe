"""Folders that a person names: nothing outside of them changes, whatever lies in them."""

from __future__ import annotations

import ast
import os
import re
import socket
import stat
from pathlib import Path

import pytest

from topo import folders
from topo.errors import UsageError

PROJECT = Path(__file__).resolve().parent.parent
Outside = dict[str, tuple[bytes, int, int, int]]


def seen(folder: Path) -> Outside:
    """Every file and folder below one: content, mode, owner and group."""
    return {
        str(path): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mode,
            path.stat().st_uid,
            path.stat().st_gid,
        )
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a person who typed sudo."""
    monkeypatch.setenv("SUDO_UID", "4711")
    monkeypatch.setenv("SUDO_GID", "4712")
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


OWNER = (4711, 4712) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def test_what_is_made_belongs_to_the_person_and_what_was_there_does_not_change(mine: Path) -> None:
    mine.chmod(0o750)
    (mine / "old").mkdir(mode=0o700)
    before = [(path.stat().st_mode, owner(path)) for path in (mine, mine / "old")]
    with folders.opened(mine / "old" / "a" / "b", make=True) as folder:
        folder.write("text", "x")
        folder.write("text", b"y")
        with folder.create("stream") as stream:
            stream.write(b"z")
        folder.new("logs")
    assert before == [(path.stat().st_mode, owner(path)) for path in (mine, mine / "old")]
    made = {str(path.relative_to(mine / "old")): path for path in (mine / "old").rglob("*")}
    assert set(made) == {"a", "a/b", "a/b/text", "a/b/stream", "a/b/logs"}
    assert {owner(path) for path in made.values()} == {OWNER}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.values()} == {0o755, 0o644}
    assert (made["a/b/text"].read_bytes(), made["a/b/stream"].read_bytes()) == (b"y", b"z")


def test_a_private_folder_is_its_owners_alone(tmp_path: Path, mine: Path) -> None:
    with folders.opened(mine / "a" / "b", make=True, private=True) as folder:
        folder.write("text", "x", durable=True)
    made = [mine / "a", mine / "a" / "b", mine / "a" / "b" / "text"]
    assert {owner(path) for path in made} == {(os.geteuid(), os.getegid())}
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700, 0o700, 0o600]
    for mode in (0o720, 0o702, 0o777):
        made[1].chmod(mode)
        with pytest.raises(UsageError, match="b: other users may write in it; chmod go-w "):
            folders.opened(made[1], private=True)


def test_what_replaces_a_file_in_a_private_folder_is_its_owners_and_readers_too(tmp_path: Path, mine: Path) -> None:
    """A host's daemon, which is a user of its own, must be able to read what an experiment puts in a file's place."""
    (mine / "rules").write_text("old")
    (mine / "rules").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(mine / "rules", 61001, 61002)
    before = owner(mine / "rules")
    with folders.opened(mine, private=True) as folder:
        folder.write("rules", "new")
    assert (mine / "rules").read_text() == "new"
    assert (owner(mine / "rules"), stat.S_IMODE((mine / "rules").stat().st_mode)) == (before, 0o640)


@pytest.mark.parametrize("there", ["secret", "", "nothing"], ids=["file", "folder", "dangling"])
def test_a_link_is_neither_written_to_nor_entered_nor_read(mine: Path, outside: Path, there: str) -> None:
    (mine / "link").symlink_to(outside / there)
    before = seen(outside)
    folder = folders.opened(mine)
    attempts = (
        lambda: folder.write("link", "x"),
        lambda: folder.create("link"),
        lambda: folder.below("link"),
        lambda: folder.below("link", make=True),
        lambda: folder.new("link"),
        lambda: folder.read("link"),
        lambda: folder.refuse_strange("link"),
        lambda: folders.write(mine / "link", "x"),
        lambda: folders.refuse_strange(mine / "link"),
        lambda: folders.opened(mine / "link"),
        lambda: folders.opened(mine / "link", make=True),
    )
    for attempt in attempts:
        with pytest.raises(UsageError) as caught:
            attempt()
        assert str(caught.value).startswith(f"{mine / 'link'}: a symbolic link, which is not ")
    assert seen(outside) == before
    assert os.listdir(mine) == ["link"]


def test_a_folder_that_is_exchanged_for_a_link_is_still_the_one_that_was_opened(mine: Path, outside: Path) -> None:
    folder = folders.opened(mine / "runs", make=True)
    (mine / "runs").rename(mine / "moved")
    (mine / "runs").symlink_to(outside)
    before = seen(outside)
    folder.write("text", "x")
    folder.new("logs").write("log", "y")
    with folder.temporary() as temporary:
        temporary.write("gone", "z")
    assert seen(outside) == before
    assert {path.name for path in (mine / "moved").rglob("*")} == {"text", "logs", "log"}


def test_a_second_name_of_a_file_keeps_its_content(mine: Path, outside: Path) -> None:
    os.link(outside / "secret", mine / "text")
    before = seen(outside)
    folders.opened(mine).write("text", "x")
    assert seen(outside) == before
    assert (mine / "text").read_text() == "x"


def test_what_is_no_plain_file_is_neither_read_nor_replaced(mine: Path) -> None:
    os.mkfifo(mine / "pipe")
    (mine / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(mine / "socket"))
    folder = folders.opened(mine)
    for name in ("pipe", "folder", "socket"):
        before = (mine / name).stat()
        with pytest.raises(UsageError, match=f"^{mine / name}: "):
            folder.read(name)
        with pytest.raises(UsageError, match=f"^{mine / name}: "):
            folders.read(mine / name)
        with pytest.raises(UsageError, match=f"^{mine / name}: "):
            folder.write(name, "x")
        assert os.path.samestat(before, (mine / name).stat())
    for device in ("/dev/full", "/dev/zero", "/dev/null", "/dev/tty"):
        with pytest.raises(UsageError, match=f"^{device}: (no plain file, not a file|No such device or address)$"):
            folders.read(Path(device))


def test_a_file_that_is_too_large_is_not_read(mine: Path) -> None:
    with (mine / "huge").open("wb") as stream:
        stream.truncate(2**40)
    for attempt in (lambda: folders.read(mine / "huge"), lambda: folders.opened(mine).read("huge", 2**20)):
        with pytest.raises(UsageError, match=r"huge: larger than 1 MiB, the most that is read$"):
            attempt()
    (mine / "whole").write_bytes(b"x" * 2**20)
    assert len(folders.read(mine / "whole")) == 2**20


def test_a_write_that_fails_leaves_what_was_there(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / "text").write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"text: No space left on device$"):
        folders.opened(mine).write("text", "new", durable=True)
    assert (os.listdir(mine), (mine / "text").read_text()) == (["text"], "old")


@pytest.mark.parametrize("name", ["with space", "q'uo\"te", "$HOME;`id`{}", "ü\udcff", "-n"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    with folders.opened(tmp_path / name / name, make=True) as folder:
        folder.write(name, "x")
        assert (folder.names(), folder.read(name)) == ([name], b"x")


# --- nothing writes past them ---------------------------------------------------------------------------------------

TOPS = ("topo", "controllers", "services", "testbed", "experiments", "benchmarks")
BOX, HOST, KERNEL = "in the box, on its tmpfs", "below the home of a host, on the box's tmpfs", "to the kernel"
#: the files that write otherwise, and where to: nowhere that a person names
ELSEWHERE = {
    "topo/folders.py": "this is the way",
    "topo/users.py": HOST,
    "testbed/state.py": "its socket's mode, in a folder that is the user's alone",
    "controllers/denied.py": HOST,
    "controllers/desired.py": HOST,
    "controllers/firewall.py": HOST,
    "controllers/jsonsocket.py": HOST,
    "services/failover/controlloop.py": HOST,
    "topo/eventlog.py": HOST,
    "services/gunicorn.py": HOST,
    "services/logfiles.py": HOST,
    "services/mariadb/datadir.py": HOST,
    "services/mariadb/galera.py": HOST,
    "services/monitoring/logsender.py": "on the host itself",
    "services/monitoring/logwriter.py": "on the host itself",
    "services/nginx.py": HOST,
    "services/unit.py": HOST,
    "testbed/bootsequence.py": BOX,
    "testbed/box.py": BOX,
    "testbed/core.py": BOX,
    "testbed/detaching.py": "its own streams",
    "testbed/hostroot.py": BOX,
    "testbed/namespaces.py": KERNEL,
    "topo/niceness.py": KERNEL,
    "testbed/network.py": HOST,
    "testbed/toppage.py": "cuts the text of a line",
    "testbed/preflight.py": "opens devices to see whether they may be opened",
    "experiments/instruments/keylog.py": HOST,
    "experiments/tls_exposure/decrypt.py": "a new temporary file for tshark",
    "experiments/waf/measure.py": "a new temporary folder for the library's log",
    "experiments/tls_tampering/impostor.py": BOX,
    "experiments/tls_tampering/measure.py": BOX,
    "benchmarks/boot_time.py": "an empty cache in a new temporary folder; and the kernel's",
    "benchmarks/web_remedies.py": BOX,
}
WRITING = {
    *("write_text", "write_bytes", "touch", "mkdir", "makedirs", "mkfifo", "mknod", "truncate"),
    *("chmod", "chown", "lchown", "fchmod", "fchown", "lchmod"),
    *("rename", "renames", "symlink", "symlink_to", "hardlink_to", "unlink", "rmdir", "removedirs", "rmtree"),
    *("copyfile", "copy2", "copytree", "copymode", "copystat", "move"),
    *("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile"),
}
WRITING_FLAGS = re.compile(r"os\.O_(WRONLY|RDWR|CREAT|APPEND|TRUNC)")


def writes(source: str) -> list[str]:
    """The calls in a file that make, change or remove files by their paths."""
    return [ast.unparse(call) for call in ast.walk(ast.parse(source)) if isinstance(call, ast.Call) and _writes(call)]


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
        modes = [each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        by_mode = any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
        return by_mode or bool(WRITING_FLAGS.search(ast.unparse(call)) and "os.devnull" not in ast.unparse(call))
    return name in WRITING or (name == "replace" and len(call.args) == 1 and not call.keywords)


def test_nothing_writes_below_a_persons_folder_by_another_way() -> None:
    files = [path for top in TOPS for path in (PROJECT / top).rglob("*.py")]
    found = {str(path.relative_to(PROJECT)): writes(path.read_text()) for path in files}
    writing = {path: calls for path, calls in found.items() if calls}
    assert {path: calls for path, calls in writing.items() if path not in ELSEWHERE} == {}
    assert ELSEWHERE.keys() - writing.keys() == set(), "these write nothing any more"


@pytest.mark.parametrize(
    "line",
    [
        "(run / name).write_text(html)",
        "path.open('w')",
        "open(path, mode='ab')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "partial.replace(path)",
        "os.chown(path, uid, gid)",
        "shutil.copyfile(source, copy)",
        "TemporaryDirectory(dir=run)",
    ],
)
def test_another_way_is_seen(line: str) -> None:
    assert writes(line) == [line]
    assert writes("text.replace('a', 'b'); path.open('rb'); folder.write(name, text); replace(plan, name=1)") == []
