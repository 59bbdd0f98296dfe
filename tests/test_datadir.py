"""MariaDB's template data directory: made once, in the box; what is not whole, or not ours, is not used."""

from __future__ import annotations

import os
import pwd
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.mariadb import datadir
from topo.errors import UsageError
from topo.folders import PART

TEMPLATE = "mariadb-key.template"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(datadir, "_key", lambda: "key")
    return tmp_path / "foobar"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where data directories were made, without MariaDB."""
    places: list[Path] = []

    def make(target: Path, temporary: Path) -> None:
        places.append(target)
        (target / "mysql").mkdir()
        (target / "mysql" / "user.frm").write_text("user")
        (target / "ibdata1").write_bytes(bytes(100_000))

    monkeypatch.setattr(datadir, "_make", make)
    return places


def test_the_template_is_made_once_and_in_the_box(cache: Path, tmp_path: Path, made: list[Path]) -> None:
    for copy in ("a", "b"):
        datadir.copy(tmp_path / "box" / copy)
        assert (tmp_path / "box" / copy / "mysql" / "user.frm").read_text() == "user"
        assert (tmp_path / "box" / copy / "ibdata1").read_bytes() == bytes(100_000)
        assert stat.S_IMODE(os.stat(tmp_path / "box" / copy).st_mode) == 0o700
    assert [path.is_relative_to(tmp_path / "box") for path in made] == [True]
    assert sorted(path.name for path in (tmp_path / "box").iterdir()) == ["a", "b"]
    assert [path.name for path in cache.iterdir()] == [TEMPLATE]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (cache, cache / TEMPLATE)] == [0o700, 0o600]


def test_several_that_start_at_once_make_it_once(cache: Path, tmp_path: Path, made: list[Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(datadir.copy, [tmp_path / f"host{number}" / "data" for number in range(8)]))
    assert len(made) == 1
    assert len(list(tmp_path.glob("host*/data/mysql/user.frm"))) == 8


@pytest.mark.parametrize("damage", ["truncated", "empty", "changed", "zeros"])
def test_a_template_that_is_not_whole_is_made_anew(cache: Path, tmp_path: Path, made: list[Path], damage: str) -> None:
    """A power cut or a full disk must not make every later boot fail."""
    datadir.copy(tmp_path / "first")
    file = cache / TEMPLATE
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "truncated": whole[:middle],
            "empty": b"",
            "changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "zeros": bytes(len(whole)),
        }[damage]
    )
    for copy in ("a", "b"):
        datadir.copy(tmp_path / copy)
        assert (tmp_path / copy / "ibdata1").read_bytes() == bytes(100_000)
    assert len(made) == 2
    datadir.copy(tmp_path / "last")
    assert len(made) == 2


def test_what_makers_left_that_were_killed_is_swept(cache: Path, tmp_path: Path, made: list[Path]) -> None:
    cache.mkdir(mode=0o700)
    (cache / f".0123abcd{PART}").write_text("half")
    (cache / "matplotlib").mkdir()
    datadir.copy(tmp_path / "data")
    assert sorted(path.name for path in cache.iterdir()) == [TEMPLATE, "matplotlib"]


def test_a_template_that_could_not_be_made_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(target: Path, temporary: Path) -> None:
        (target / "half").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(datadir, "_make", fail)
    with pytest.raises(KeyboardInterrupt):
        datadir.copy(tmp_path / "box" / "data")
    assert list(cache.iterdir()) == []
    assert list((tmp_path / "box").iterdir()) == []


@pytest.mark.parametrize("strange", ["link", "shared", "template"])
def test_a_cache_that_others_may_fill_is_not_used(cache: Path, tmp_path: Path, made: list[Path], strange: str) -> None:
    """Root's databases must not begin with another's data."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if strange == "link":
        cache.symlink_to(elsewhere)
    else:
        cache.mkdir(mode=0o700)
        cache.chmod(0o770 if strange == "shared" else 0o700)
        (cache / TEMPLATE).symlink_to(elsewhere / "theirs")
    with pytest.raises(UsageError, match=rf"^{cache}.*(a symbolic link|other users may write)"):
        datadir.copy(tmp_path / "data")
    assert (list(elsewhere.iterdir()), made) == ([], [])


def test_root_has_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sudo leaves $HOME as it is."""
    for variable in ("XDG_CACHE_HOME", "SUDO_UID"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datadir.cache() == tmp_path / ".cache" / "foobar"
    uid = os.geteuid()
    monkeypatch.setenv("SUDO_UID", str(uid))
    assert datadir.cache() == tmp_path / ".cache" / "foobar"
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir="/root"))
    assert datadir.cache() == Path("/root/.cache/foobar")
