"""Rotation of logs: no line is lost, no other file is touched, and room is made."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from services import logfiles
from topo import folders
from topo.errors import UsageError

FULL = 100


def rotate(log: Path) -> None:
    with folders.opened(log.parent) as folder:
        logfiles.rotate(folder, log.name, FULL)


def lines(*numbers: int) -> str:
    return "".join(f"line {number:014}\n" for number in numbers)


def test_a_full_log_begins_anew_under_the_writers_hands(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("a", buffering=1) as daemon:
        daemon.write(lines(*range(5)))
        rotate(log)
        assert log.read_text() == ""
        daemon.write(lines(5))
    assert (tmp_path / "a.log.1").read_text() + log.read_text() == lines(*range(6))


def test_a_log_with_room_stays(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(lines(*range(4)))
    rotate(log)
    assert log.read_text() == lines(*range(4))
    assert os.listdir(tmp_path) == ["a.log"]


def test_of_what_was_there_before_the_last_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for first in (0, 5):
        log.write_text(lines(*range(first, first + 5)))
        rotate(log)
    assert (tmp_path / "a.log.1").read_text() == lines(*range(5, 10))
    assert sorted(os.listdir(tmp_path)) == ["a.log", "a.log.1"]


@pytest.mark.parametrize("name", ["a.log", "a.log.1"])
def test_a_link_that_a_hosts_root_put_there_leads_nowhere(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.write_text(lines(*range(9)))
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "a.log").write_text(lines(*range(9)))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(other)
    with suppress(UsageError):
        rotate(folder / "a.log")
    assert other.read_text() == lines(*range(9))
