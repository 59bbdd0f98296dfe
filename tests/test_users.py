"""Users of services: a number for each task, given away where they are there, and said where they are not."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services import logfiles
from services.deployment import host_services
from services.secrets import Secrets
from services.service import Service
from testbed.namespaces import limited
from topo import folders, users
from topo.plan import plan
from topo.profile import Profile
from topo.users import DaemonUser, Rights

ROOT_S_BOX = "         0          0 4294967295\n"
CONTAINER = "0 100000 65536\n"
ORDINARY = "         0       1000          1\n"


def service(role: str, *reads: str) -> Service:
    return cast("Service", SimpleNamespace(role=role, reads=reads))


def profiles() -> tuple[Profile, ...]:
    """The small one, and those with all that runs beside the site."""
    return Profile(), Profile(ids="on", db="async", tls="mutual"), Profile(db="galera", monitoring="off")


def test_every_service_of_a_host_has_a_number_that_no_other_there_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "why_not", lambda: None)
    for profile in profiles():
        numbers: dict[tuple[str, int], str] = {}
        for one in host_services(plan(profile), profile, Secrets()):
            user = users.of(one)
            assert user is not None
            assert user.groups[0] == user.number
            assert 0 < user.number < 65536 - 100, "containers map so many"
            assert numbers.setdefault((one.host, user.number), one.id) == one.id


def test_a_file_that_a_service_reads_is_of_one_of_its_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "why_not", lambda: None)
    own = users.of(service("shipper", "web", "shipper", "app"))
    assert own == DaemonUser(users.number("shipper"), tuple(map(users.number, ("shipper", "web", "app"))))


@pytest.mark.parametrize(("mapped", "there"), [(ROOT_S_BOX, True), (CONTAINER, True), (ORDINARY, False)])
def test_the_numbers_are_looked_for_before_they_are_given(mapped: str, there: bool) -> None:
    assert users._all_there(mapped) is there


def test_where_there_is_one_user_every_name_is_root_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "why_not", lambda: "one user only")
    assert users.of(service("web")) is None
    assert "_web:x:0:0:" in users.accounts()[0]
    assert "_web:x:0:\n" in users.accounts()[1]
    monkeypatch.setattr(users, "why_not", lambda: None)
    assert f"_web:x:{users.number('web')}:" in users.accounts()[0]


def test_a_project_that_is_closed_to_others_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("topo", "controllers", "services/site"):
        (tmp_path / part).mkdir(parents=True)
    monkeypatch.setattr(users, "PROJECT", tmp_path)
    tmp_path.chmod(0o755)
    before = list(users._closed())
    (tmp_path / "services" / "site" / "app.py").touch(0o600)
    (tmp_path / "topo").chmod(0o700)
    assert list(users._closed()) == [tmp_path / "topo", tmp_path / "services" / "site" / "app.py", *before]


def test_a_daemon_has_its_user_and_nothing_else() -> None:
    words = limited(Rights(("net_raw",), DaemonUser(61005, (61005, 61002))))
    assert {"--no-new-privs", "--reuid=61005", "--regid=61005", "--groups=61005,61002"} <= set(words)
    assert {f"--{kind}=-all,+net_raw" for kind in ("inh-caps", "ambient-caps", "bounding-set")} <= set(words)
    assert not any("--reuid" in word for word in limited(Rights(("net_raw",))))


def test_what_is_given_is_given_whole_and_no_link_leads_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "deep").mkdir(parents=True)
    (tmp_path / "own" / "deep" / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "stranger").touch()
    (tmp_path / "own" / "link").symlink_to(tmp_path / "other")
    given: list[tuple[str, bool]] = []

    def chown(path: Any, uid: int, gid: int, *, follow_symlinks: bool, dir_fd: int | None = None) -> None:
        assert uid == gid == 61000
        given.append((Path(path).name, follow_symlinks))

    monkeypatch.setattr(os, "chown", chown)
    users.give(tmp_path / "own", DaemonUser(61000, (61000,)))
    assert sorted(given) == [("deep", False), ("file", False), ("link", False), ("own", False)]
    users.give(tmp_path / "own", None)
    assert len(given) == 4


def test_what_was_in_a_log_has_the_mode_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("line\n")
    log.chmod(0o640)
    with folders.opened(tmp_path) as folder:
        logfiles.rotate(folder, log.name, 1)
    assert (tmp_path / "a.log.1").read_text() == "line\n"
    assert (tmp_path / "a.log.1").stat().st_mode & 0o777 == 0o640
