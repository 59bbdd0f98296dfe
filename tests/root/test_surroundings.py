"""Boots in surroundings that nobody wishes for: a hostile environment, folders with strange names, a broken set-up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import open_to_all
from runningtestbed import PROJECT, Commands, one_line
from test_environment import HOSTILE

from topo.plan import SITE

pytestmark = pytest.mark.root
STRANGE = 'it\'s; $HOME {a} "b" \\ ü%s'


def test_nothing_of_the_persons_environment_reaches_daemons_and_hosts(commands: Commands, tmp_path: Path) -> None:
    for program in ("ip", "sh", "bash", "ovs-vsctl", "unshare", "nsenter", "mount", "tini", "mnexec"):
        (tmp_path / program).write_text("#!/bin/true\n")
        (tmp_path / program).chmod(0o755)
    commands.environment |= HOSTILE | {"PATH": str(tmp_path), "LD_PRELOAD": "", "PYTHONPATH": "", "OPENSSL_CONF": ""}
    bed = commands.up("x")
    shown = ("curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{http_code}", f"https://{SITE}/")
    assert bed.run("client", *shown) == "200"
    for host in ("client", "box"):
        names = {line.partition("=")[0] for line in bed.run(host, "env").splitlines()}
        assert names <= {"HOME", "LANG", "PATH", "TERM", "PWD", "OLDPWD", "SHLVL", "_"}


@pytest.fixture
def short_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="s") as folder:
        yield folder


def test_project_runs_home_and_state_may_have_strange_names(tmp_path: Path, short_folder: str) -> None:
    place = tmp_path / STRANGE
    project, home = place / "project", place / "home"
    state = Path(short_folder) / STRANGE  # the name of a socket has 107 letters
    for folder in (place, home, state):
        folder.mkdir(mode=0o755)
    open_to_all(tmp_path)
    ignored = shutil.ignore_patterns(".*", "__pycache__", "runs", "tests")
    shutil.copytree(PROJECT, project, ignore=ignored)
    environment = {"HOME": str(home), "FOOBAR_STATE": str(state), "PATH": "/usr/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "topo.foobar", "--name", "x", "--runs", str(place / "runs")],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((place / "runs").glob("journey/*/result.json"))
    assert (home / ".cache" / "foobar").is_dir()


def hidden(commands: Commands, program: str) -> subprocess.CompletedProcess[str]:
    """A boot where a program of the set-up cannot be run."""
    hide = f'mount --bind /dev/null "$(readlink -f "$(PATH=$PATH:/usr/sbin command -v {program})")" && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", hide, "sh", *commands.argv("up", "--detach", "--name", "x")],
        cwd=PROJECT,
        env=commands.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.mark.parametrize("program", ["setsid", "chroot"])
def test_a_host_whose_set_up_fails_ends_the_boot_and_says_why(commands: Commands, program: str) -> None:
    """Mininet waits for the shell of a host for ever."""
    done = hidden(commands, program)
    assert done.returncode == 3
    line = one_line(done.stderr)
    assert line.startswith("foobar: client: its shell ended: "), line
    assert "Permission denied" in line
    assert json.loads(commands("status", "--json").stdout) == []
