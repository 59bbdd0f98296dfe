"""The set-up, as far as it can be tried without installing anything: what it lists, says and pins."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fakes import open_to_all
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parent.parent
PROVISION = PROJECT / "vagrant" / "provision.sh"
CONSTRAINTS = PROJECT / "vagrant" / "constraints.txt"
SCRIPTS = ["foobar", "vagrant/provision.sh", ".ci/run"]
NOBODY = 65534

# what the launcher and the set-up need to find out what is missing
TOOLS = ["bash", "cat", "dirname", "id", "readlink", "sed", "sha256sum"]


def run(
    *command: str | Path, cwd: Path = PROJECT, env: Mapping[str, str] | None = None, as_nobody: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; as an ordinary user if asked to, and possible only for root."""
    user = NOBODY if as_nobody and os.geteuid() == 0 else None
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def packages() -> dict[str, tuple[str, str]]:
    """The system packages: name -> (what it is recognised by, why)."""
    listed = run(PROVISION, "--list").stdout.splitlines()
    words = [line.split(maxsplit=2) for line in listed]
    return {name: (sign, why) for name, sign, why in words}


def pins() -> dict[str, str]:
    """vagrant/constraints.txt: canonical name -> version."""
    lines = [line.partition("#")[0].strip() for line in CONSTRAINTS.read_text().splitlines()]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def requirements(monkeypatch: pytest.MonkeyPatch) -> list[Requirement]:
    """What setup.py asks for, extras included."""
    asked: dict[str, object] = {}
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("setuptools.setup", lambda **words: asked.update(words))
    exec(compile((PROJECT / "setup.py").read_text(), "setup.py", "exec"), {"__name__": "__main__"})
    install, extras = asked["install_requires"], asked["extras_require"]
    assert isinstance(install, list)
    assert isinstance(extras, dict)
    return [Requirement(line) for line in [*install, *(line for extra in extras.values() for line in extra)]]


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the launcher needs, in a folder that any user may read, with no virtual environment."""
    folder = tmp_path_factory.mktemp("clone")
    open_to_all(folder)
    for name in ["foobar", "setup.py", "vagrant/provision.sh", "vagrant/constraints.txt"]:
        (folder / name).parent.mkdir(exist_ok=True, mode=0o755)
        shutil.copy(PROJECT / name, folder / name)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def bare_path(clone: Path) -> str:
    """A PATH with hardly anything on it (Debian's sbin folders are looked at all the same)."""
    bin_ = clone / "bin"
    bin_.mkdir(mode=0o755)
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/bin:/bin")
        assert found
        (bin_ / tool).symlink_to(found)
    return str(bin_)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_can_be_run(script: str) -> None:
    assert run("bash", "-n", script).stderr == ""
    assert os.access(PROJECT / script, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    assert run("shellcheck", *SCRIPTS).stdout == ""


@pytest.mark.skipif(shutil.which("ruby") is None, reason="ruby is not installed")
def test_vagrantfile_parses() -> None:
    assert run("ruby", "-c", "vagrant/Vagrantfile").stdout == "Syntax OK\n"


def test_a_clone_made_on_windows_has_our_line_ends() -> None:
    """``git archive`` writes files as a checkout would; with ``core.autocrlf`` that was CRLF, which no shell reads."""
    git = ("git", "-c", f"safe.directory={PROJECT}", "-c", "core.autocrlf=true")
    archive = ("archive", "--worktree-attributes", "HEAD", *SCRIPTS, "vagrant", "testbed/host.sh")
    packed = subprocess.run([*git, *archive], cwd=PROJECT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        texts = {member.name: stream.read() for member in files if (stream := files.extractfile(member))}
    assert set(SCRIPTS) < set(texts)
    assert [name for name, text in texts.items() if b"\r" in text] == []


def test_each_package_has_a_sign_and_a_reason() -> None:
    listed = packages()
    assert {"python3", "mininet", "openvswitch-switch", "haproxy", "nginx", "mariadb-server", "nsd"} <= set(listed)
    for name, (sign, why) in listed.items():
        assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name)
        assert re.fullmatch(r"/\S+|[\w-]+", sign)
        assert why


def test_the_readme_names_every_package() -> None:
    readme = PROJECT / "README.md"
    text = readme.read_text() if readme.exists() else ""
    section = re.search(r"^#+ .*requirements?\b.*?$(.*?)(?=^#+ |\Z)", text, re.M | re.S | re.I)
    if section is None:
        pytest.skip("the README has no section on requirements")
    named = set(re.findall(r"[a-z0-9][a-z0-9+.-]+", section.group(1)))
    assert set(packages()) - named == set()


def test_every_requirement_is_pinned_within_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = pins()
    for requirement in requirements(monkeypatch):
        version = pinned[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, requirement


def test_pins_are_exact_and_sorted() -> None:
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[\w.]+(  # .+)?", line) for line in lines)
    assert lines == sorted(lines, key=str.lower)


def test_every_release_that_is_accepted_is_documented() -> None:
    script, readme = PROVISION.read_text(), (PROJECT / "README.md").read_text()
    accepted = re.findall(r'"(debian|ubuntu) ([\d.]+) "\*', script)
    assert ("debian", "12") in accepted
    assert ("debian", "13") in accepted
    lines = {
        "the script's first line": script.splitlines()[1],
        "its refusal": next(line for line in script.splitlines() if "the set-up knows" in line),
        "the README": next(line for line in readme.splitlines() if "on amd64 or arm64" in line),
    }
    missing = [(where, version) for where, line in lines.items() for _, version in accepted if version not in line]
    assert missing == []
    boxes = re.findall(r'^  "(\d+)" => \[\["bento/debian-(\d+)"', (PROJECT / "vagrant/Vagrantfile").read_text(), re.M)
    assert {(release, release) for name, release in accepted if name == "debian"} == set(boxes)


def test_an_unknown_option_is_bad_usage() -> None:
    done = run(PROVISION, "--frobnicate")
    assert done.returncode == 64
    assert "--frobnicate" in done.stderr
    assert "--check" in done.stderr


def test_help_is_the_text_at_the_top() -> None:
    done = run(PROVISION, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Installs what the testbed needs")
    assert "FOOBAR_VENV" in done.stdout
    assert "pipefail" not in done.stdout


def test_check_says_one_line_for_each_missing_thing(clone: Path, bare_path: str) -> None:
    done = run(
        clone / "vagrant/provision.sh",
        "--check",
        env={"PATH": bare_path, "FOOBAR_VENV": "", "FOOBAR_PYTHON": ""},
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 3
    assert done.stdout == ""
    assert [line for line in lines if "package curl:" in line] == [
        "foobar: curl is missing (package curl: the client's requests by hand)"
    ]
    assert f"foobar: the virtual environment {clone}/.venv is missing" in lines
    assert lines[-1] == "foobar: run 'sudo ./foobar' once: it installs what is missing"
    assert all(line.startswith("foobar: ") for line in lines)


def test_an_ordinary_user_is_told_and_nothing_is_installed(clone: Path, bare_path: str) -> None:
    before = sorted(clone.rglob("*"))
    done = run(
        clone / "foobar",
        cwd=Path("/"),
        env={"PATH": bare_path, "FOOBAR_VENV": "", "FOOBAR_PYTHON": ""},
        as_nobody=True,
    )
    assert done.returncode == 3, done.stderr
    assert "package curl:" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("foobar: run 'sudo ./foobar' once")
    assert sorted(clone.rglob("*")) == before


def finished_venv(clone: Path) -> Path:
    """A virtual environment as the set-up leaves it, whose Python says what it is asked to run, and where."""
    venv = clone / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").write_text('#!/bin/sh\necho "$PWD: $*"\n')
    (venv / "bin/python").chmod(0o755)
    hashed = subprocess.run(
        ["sh", "-c", "cat setup.py vagrant/constraints.txt | sha256sum"],
        cwd=clone, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    base = os.path.realpath("/usr/bin/python3")
    (venv / "foobar-stamp").write_text(f"{base} {venv} {clone}\n{hashed}")
    return venv


def all_programs(folder: Path) -> str:
    """A PATH on which every program of the list is found."""
    folder.mkdir(exist_ok=True, mode=0o755)
    for sign, _ in packages().values():
        if not sign.startswith("/"):
            (folder / sign).touch(mode=0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.fixture
def complete(clone: Path) -> Path:
    """A clone in which nothing is missing."""
    if run(PROVISION, "--check").returncode != 0:
        pytest.skip("the system packages are not installed")
    finished_venv(clone)
    return clone


@pytest.fixture
def user_env(complete: Path) -> dict[str, str]:
    """The environment that goes with it."""
    return {"PATH": all_programs(complete / "programs"), "FOOBAR_VENV": "", "FOOBAR_PYTHON": ""}


def test_nothing_missing_is_silent_and_quick(complete: Path, user_env: dict[str, str]) -> None:
    began = time.monotonic()
    done = run(complete / "vagrant/provision.sh", env=user_env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - began < 1


def test_the_launcher_stays_in_the_users_folder(complete: Path, user_env: dict[str, str]) -> None:
    link = complete / "link"
    link.symlink_to(complete / "foobar")
    done = run(link, "up", "--name", "a b", cwd=Path("/usr"), env=user_env, as_nobody=True)
    assert done.stdout == "/usr: -m topo.foobar up --name a b\n", done.stderr


def test_the_launcher_tests_in_the_project(complete: Path, user_env: dict[str, str]) -> None:
    done = run(complete / "foobar", "test", "-q", cwd=Path("/usr"), env=user_env, as_nobody=True)
    assert done.stdout == f"{complete}: tests/run_tests.py -q\n", done.stderr


@pytest.mark.parametrize(
    ("edit", "state"),
    [
        (lambda clone: (clone / "vagrant/constraints.txt").write_text("rich==1\n"), "outdated"),
        (lambda clone: (clone / ".venv/foobar-stamp").write_text("elsewhere\n"), "moved"),
        (lambda clone: (clone / ".venv/foobar-stamp").write_text(""), "moved"),
        (lambda clone: (clone / ".venv/foobar-stamp").unlink(), "missing"),
    ],
)
def test_a_stale_environment_is_noticed(
    complete: Path, user_env: dict[str, str], edit: Callable[[Path], object], state: str
) -> None:
    edit(complete)
    done = run(complete / "vagrant/provision.sh", "--check", env=user_env)
    assert done.returncode == 3
    assert done.stderr.startswith(f"foobar: the virtual environment {complete}/.venv is {state}\n")


def test_the_gate_runs_the_documented_test_command() -> None:
    text = (PROJECT / ".ci/run").read_text()
    assert "./foobar test" in text
    assert "CI=true" in text
