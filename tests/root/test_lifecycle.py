"""Boots and ends of every kind: side by side, by signal at any moment, as an ordinary user; nothing is ever left."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import open_to_all
from runningtestbed import PROJECT, Commands, Machine, Processes, RunningTestbed, one_line

from topo import wait
from topo.plan import SITE

pytestmark = pytest.mark.root
NOBODY = 65534
BOOT_SECONDS = 2.0  # about: random moments of a boot are drawn from this
INTERRUPTED = "foobar: interrupted; nothing is left behind"


def works(bed: RunningTestbed) -> bool:
    done = bed.exec("client", "curl", "-sS", "--fail", "-o", "/dev/null", f"https://{SITE}/")
    return done.returncode == 0


# --- side by side -------------------------------------------------------------------------------------------------


def test_two_at_once_with_the_same_names_and_addresses(bed: RunningTestbed, second: RunningTestbed) -> None:
    assert {each["name"] for each in json.loads(bed.commands("status", "--json").stdout)} >= {"a", "b"}
    for each in (bed, second):
        assert works(each)
        assert each.status()["hosts"]["srv1"]["ip"] == "10.0.3.11"
    assert bed.processes().namespaces & second.processes().namespaces == set()
    bed.run("client", "touch", "/tmp/only-in-a")
    assert second.exec("client", "test", "-e", "/tmp/only-in-a").returncode == 1


def test_a_name_that_is_taken_is_refused(bed: RunningTestbed) -> None:
    for words in (["up", "--name", "a"], ["up", "--detach", "--name", "a"], ["--name", "a"]):
        done = bed.commands(*words)
        assert (done.returncode, done.stdout) == (64, "")
        assert one_line(done.stderr) == (
            "foobar: a testbed named a is running; choose another --name, or end it with: down a"
        )
    assert works(bed)


def test_down_all_leaves_nothing(commands: Commands, machine: Machine) -> None:
    testbeds = [commands.up(name) for name in ("x", "y")]
    processes = [bed.processes() for bed in testbeds]
    assert all(len(each.alive) > 40 and len(each.namespaces) > 40 for each in processes), "the inspection sees them"
    assert processes[0].leftovers() is not None
    done = commands("down", "--all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x: down\ny: down\n", "")
    machine.assert_clean(*processes)
    assert json.loads(commands("status", "--json").stdout) == []
    assert list(commands.state.iterdir()) == []


def test_a_testbed_that_boots_can_be_seen_and_ended(commands: Commands, machine: Machine) -> None:
    with commands.popen("up", "--name", "x") as process:
        wait.until(lambda: None if (commands.state / "x.json").exists() else "no state", what="booting", seconds=5)
        wait.until(lambda: None if '"x"' in commands("status", "--json").stdout else "unseen", what="seen", seconds=5)
        processes = Processes.below(process.pid)
        done = commands("down", "x")
        assert (done.returncode, done.stdout) == (0, "x: down\n")
        assert process.wait(5) == 130
    machine.assert_clean(processes)


# --- other designs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags", ["--servers 1 --balance source", "--servers 5 --balance leastconn", "--balance source"]
)
def test_other_profiles_boot(commands: Commands, flags: str) -> None:
    bed = commands.up("x", *flags.split())
    status = bed.status()
    assert status["steady"]
    assert sum(name.startswith("srv") for name in status["hosts"]) == status["profile"]["servers"]
    assert works(bed)
    assert commands("down").returncode == 0


def test_without_firewalls_all_ports_are_open_but_nobody_can_forge(commands: Commands) -> None:
    bed = commands.up("x", "--firewall", "off")
    assert bed.connects("attacker", "srv1.foobar.com", 80)
    assert bed.connects("attacker", "srv2.foobar.com", 3306)
    assert bed.exec("attacker", "ping", "-c1", "-W1", "srv3.foobar.com").returncode == 0
    before = bed.packets("core", 1001)
    bed.exec("attacker", "ping", "-c1", "-W1", "-I", "10.0.1.66", "lb.foobar.com")
    bed.run("attacker", "ip", "addr", "add", "10.0.1.99/16", "dev", "attacker-eth0")
    assert bed.exec("attacker", "ping", "-c1", "-W1", "-I", "10.0.1.99", "10.0.2.10").returncode == 1
    assert bed.packets("core", 1001) > before


# --- killed at any moment -----------------------------------------------------------------------------------------

MOMENTS = random.Random(20)
# (what is killed, seconds after the boot began, seconds after the next one was up)
KILLS = [
    (victim, round(MOMENTS.uniform(0.05, BOOT_SECONDS), 2), round(MOMENTS.uniform(0, 0.3), 2))
    for victim in (
        "launcher",
        "pid 1",
        "ovs-vswitchd",
        "launcher",
        "pid 1",
        "ovs-vswitchd",
        "launcher",
        "pid 1",
        "ovs-vswitchd",
        "launcher",
    )
]
FIRST_KILLS = [
    (victim, round(MOMENTS.uniform(0.05, 1.5 * BOOT_SECONDS), 2))
    for victim in ("launcher", "pid 1", "ovs-vswitchd") * 2
]


def find(victim: str, launcher: int) -> int | None:
    """The pid of what is to be killed, if it is there already."""
    if victim == "launcher":
        return launcher
    return Processes.below(launcher).named({"pid 1": "tini"}.get(victim, victim))


def kill_during_a_boot(commands: Commands, machine: Machine, victim: str, during: float) -> None:
    with commands.popen("up", "--name", "x") as process:
        time.sleep(during)  # the moment itself is what is tested
        found: list[int] = []
        wait.until(
            lambda: None if found.extend(filter(None, [find(victim, process.pid)])) or found else "not there",  # type: ignore[func-returns-value]
            what=victim,
            seconds=5,
        )
        booting = Processes.below(process.pid)
        os.kill(found[0], signal.SIGKILL)
        _, err = process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGKILL if victim == "launcher" else 3), err
    said = {
        "launcher": "",
        "pid 1": "foobar: the box ended before its work was done",
        "ovs-vswitchd": "foobar: box/ovs-vswitchd died",
    }
    assert (err.splitlines() or [""])[-1].startswith(said[victim]), err
    machine.assert_clean(booting)


@pytest.mark.parametrize(("victim", "during", "after"), KILLS, ids=str)
def test_kill_9_leaves_nothing_and_the_next_boot_works(
    commands: Commands, machine: Machine, victim: str, during: float, after: float
) -> None:
    """Twice: at a random moment of a boot, and shortly after the next one is up."""
    kill_during_a_boot(commands, machine, victim, during)
    bed = commands.up("x")
    assert works(bed)
    running = bed.processes()
    time.sleep(after)
    pid = find(victim, commands.entry("x")["launcher"])
    assert pid
    os.kill(pid, signal.SIGKILL)
    machine.assert_clean(running)
    assert json.loads(commands("status", "--json").stdout) == []


@pytest.mark.parametrize(("victim", "during"), FIRST_KILLS, ids=str)
def test_kill_9_of_a_first_boot_leaves_nothing(tmp_path: Path, victim: str, during: float) -> None:
    """When the databases' template is made: it is whole in the cache or not there, and nothing lies in /tmp."""
    for name in ("state", "cache"):
        (tmp_path / name).mkdir(mode=0o700)
    commands = Commands(tmp_path / "state", {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    before = set(Path("/tmp").glob("mariadb*"))
    machine = Machine(commands.state)
    kill_during_a_boot(commands, machine, victim, during)
    assert set(Path("/tmp").glob("mariadb*")) <= before
    try:
        assert works(commands.up("x"))
    finally:
        commands("down", "--all", seconds=240)
    machine.assert_clean()
    (template,) = (path for path in (tmp_path / "cache" / "foobar").iterdir() if path.is_file())
    assert template.name.startswith("mariadb-")
    assert set(Path("/tmp").glob("mariadb*")) <= before


def test_kill_9_of_the_command_that_boots_in_the_background(commands: Commands, machine: Machine) -> None:
    """Until it is up, the command that was typed is the launcher as far as a person can see."""
    with commands.popen("up", "--detach", "--name", "x") as process:
        wait.until(lambda: None if (commands.state / "x.json").exists() else "no state", what="booting", seconds=5)
        booting = Processes.below(process.pid)
        process.kill()
    machine.assert_clean(booting)


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [round(random.Random(n).uniform(0.12, BOOT_SECONDS), 2) for n in range(8)])
@pytest.mark.parametrize("how", ["", "--detach"], ids=["foreground", "detach"])
def test_ctrl_c_at_any_moment_of_a_boot(commands: Commands, machine: Machine, moment: float, how: str) -> None:
    """As a terminal does it: to every process of the foreground group."""
    with commands.popen("up", "--name", "x", *how.split()) as process:
        time.sleep(moment)  # the moment itself is what is tested
        booting = Processes.below(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
    if process.returncode == 0 and how:  # it was up already
        return
    assert process.returncode == 130, err
    assert one_line(err) == INTERRUPTED
    machine.assert_clean(booting)
    assert list(commands.state.iterdir()) == []


@pytest.mark.parametrize("attempt", range(3))
def test_ctrl_c_in_the_instant_that_it_is_up(commands: Commands, machine: Machine, attempt: int) -> None:
    with commands.popen("up", "--name", "x") as process:
        wait.until(lambda: None if _is_up(commands, "x") else "booting", what="up", seconds=20)
        running = Processes.below(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert one_line(err) == INTERRUPTED
    machine.assert_clean(running)


def test_ctrl_c_at_the_prompt_ends_the_command_and_not_the_testbed(commands: Commands, machine: Machine) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(PROJECT)
        os.execve(sys.executable, commands.argv("--name", "x"), commands.environment)
    shown = _read_until(terminal, b"mininet> ")
    assert b"steady" in shown, "the waterfall came first"
    processes = Processes.below(pid)
    os.write(terminal, b"client sleep 600\n")
    wait.until(
        lambda: None if Processes.below(pid).named("sleep") else "not started", what="the command running", seconds=10
    )
    os.write(terminal, b"\x03")
    _read_until(terminal, b"mininet> ")
    os.write(terminal, b"client hostname\n")
    assert b"\nclient\r" in _read_until(terminal, b"mininet> ")
    os.write(terminal, b"verify --policy nofile\n")
    assert b"nofile: No such file" in _read_until(terminal, b"mininet> "), "our commands are there, as outside"
    os.write(terminal, b"verify\n")
    assert b"holds: " in _read_until(terminal, b"mininet> ")
    os.write(terminal, b"exit\n")
    _read_until(terminal, None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    machine.assert_clean(processes)


def _read_until(terminal: int, wanted: bytes | None, seconds: float = 20) -> bytes:
    """What a terminal shows until something appears on it (None: until everybody has left it)."""
    shown = b""
    while wanted is None or wanted not in shown:
        assert select.select([terminal], [], [], seconds)[0], shown.decode(errors="replace")
        try:
            text = os.read(terminal, 65536)
        except OSError:  # nobody holds the other end any more
            text = b""
        if not text:
            assert wanted is None, shown.decode(errors="replace")
            break
        shown += text
    return shown


def _is_up(commands: Commands, name: str) -> bool:
    try:
        return bool(commands.entry(name)["phase"] == "up")
    except (OSError, ValueError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_other_wishes_to_end(commands: Commands, machine: Machine, number: signal.Signals) -> None:
    """A closed terminal and an administrator's kill end a testbed as orderly as Ctrl-C does."""
    with commands.popen("up", "--name", "x") as process:
        wait.until(lambda: None if _is_up(commands, "x") else "booting", what="up", seconds=20)
        running = Processes.below(process.pid)
        os.kill(process.pid, number)
        process.communicate(timeout=20)
    machine.assert_clean(running)
    assert json.loads(commands("status", "--json").stdout) == []


# --- services that do not start -----------------------------------------------------------------------------------


def sabotaged(tmp_path: Path, code: str) -> Commands:
    """The command line with Python code run first, outside the box and in it: a package that comes before ours."""
    (tmp_path / "topo").mkdir()
    first = f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n__path__[:] = [{str(PROJECT / 'topo')!r}]\n"
    (tmp_path / "topo" / "__init__.py").write_text(f"{first}{code}\n")
    (tmp_path / "state").mkdir()
    return Commands(tmp_path / "state", folder=tmp_path)


def test_a_service_that_dies_at_boot_shows_the_tail_of_its_log(tmp_path: Path) -> None:
    dying = '("sh", "-c", "echo starting; echo cannot bind to port 53 >&2; exit 9")'
    commands = sabotaged(tmp_path, f"import services.nsd\nservices.nsd.Nsd.command = lambda self: {dying}")
    machine = Machine(commands.state)
    done = commands("up", "--name", "x")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "foobar: dns/resolver died while starting (exit status 9)",
        "--- dns:/var/log/nsd.log",
        "starting",
        "cannot bind to port 53",
    ]
    machine.assert_clean()
    assert list(commands.state.iterdir()) == []


def test_a_configuration_that_its_daemon_refuses_starts_nothing(tmp_path: Path) -> None:
    code = "from services.service import TEMPLATES as t\nfrom jinja2 import ChoiceLoader, DictLoader\n"
    code += "t.loader = ChoiceLoader([DictLoader({'nginx.conf.j2': 'listne 80;'}), t.loader])"
    commands = sabotaged(tmp_path, code)
    done = commands("up", "--detach", "--name", "x")
    assert done.returncode == 3
    first, *rest = done.stderr.splitlines()
    assert re.fullmatch(r"foobar: srv\d/web: nginx refuses its configuration", first)
    assert any('unknown directive "listne"' in line for line in rest)
    Machine(commands.state).assert_clean()


def test_a_service_that_never_serves_is_given_up(tmp_path: Path) -> None:
    code = "import services.nsd as n\nn.Nsd.command = lambda self: ('sleep', '600')\nn.Nsd.patience = 1.5"
    done = sabotaged(tmp_path, code)("up", "--name", "x")
    assert done.returncode == 3
    waited = f"{1.5 * wait.patience():g} s"
    assert one_line(done.stderr).startswith(f"foobar: dns/resolver ready: not within {waited}; last seen: port 53")


def test_a_template_value_that_is_missing_is_an_error(tmp_path: Path) -> None:
    code = "from services.service import TEMPLATES as t\nfrom jinja2 import ChoiceLoader, DictLoader\n"
    code += "t.loader = ChoiceLoader([DictLoader({'nsd.conf.j2': '{{ no_such_value }}'}), t.loader])"
    done = sabotaged(tmp_path, code)("up", "--name", "x")
    assert done.returncode == 3
    assert "no_such_value" in done.stderr.splitlines()[-1]


# --- stale and corrupt state --------------------------------------------------------------------------------------


def left_behind(commands: Commands, pid: int) -> str:
    """The state of a dead testbed whose pids another process has by now."""
    entry = {"name": "x", "phase": "up", "launcher": pid, "pid": pid, "started": "", "profile": {}, "hosts": {}}
    (commands.state / "x.json").write_text(json.dumps(entry))
    return json.dumps(entry)


@pytest.mark.parametrize("text", ["", "{", '{"name": "x", "launcher": 1}'], ids=["empty", "torn", "strange"])
def test_a_stale_or_strange_state_file_is_no_obstacle(commands: Commands, text: str) -> None:
    """What a dead testbed left is removed; what is none of ours stays, and is not written to either."""
    files = (commands.state / "x.json", commands.state / "x.sock")
    for content in (left_behind(commands, os.getpid()), text):
        for file in files:
            file.write_text(content)
        assert json.loads(commands("status", "--json").stdout) == []
        done = commands("down", "x")
        assert (done.returncode, one_line(done.stderr)) == (
            64,
            "foobar: no testbed is running; start one with: up --detach",
        )
        assert [file.exists() for file in files] == [content == text, True], "a file is no socket of ours"
    done = commands("up", "--detach", "--name", "x")
    assert (done.returncode, done.stdout) == (64, "")
    assert re.fullmatch(r"foobar: .*/x.(json|sock): no testbed's s.*; choose another --name", one_line(done.stderr))
    assert [file.read_text() for file in files] == [text, text]


def test_a_running_one_with_a_corrupt_file_can_still_be_ended(commands: Commands, machine: Machine) -> None:
    left_behind(commands, 1 << 22)
    bed = commands.up("x")
    processes = bed.processes()
    (commands.state / "x.json").write_text("{torn")
    assert "x" in commands("status").stdout
    assert one_line(commands("exec", "client", "--", "true").stderr).startswith("foobar: testbed x is unreadable")
    assert commands("down", "x").stdout == "x: down\n"
    machine.assert_clean(processes)


def test_a_pid_that_is_somebody_elses_now_is_left_alone(commands: Commands) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        left_behind(commands, stranger.pid)
        assert commands("down", "--all").returncode == 0
        assert commands("down", "x").returncode == 64
        assert stranger.poll() is None
        stranger.kill()


# --- as an ordinary user ------------------------------------------------------------------------------------------


def as_nobody(tmp_path: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    home = tmp_path / "nobody"
    home.mkdir()
    shutil.chown(home, NOBODY, NOBODY)
    open_to_all(tmp_path)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    script = f"""
"$@" up --detach --name x && "$@" exec client -- curl -sS --fail -o /dev/null -w "%{{http_code}}\n" https://{SITE}/
code=$?
[ $code != 0 ] || "$@" audit --json --name x >"$HOME/audit.json"
"$@" down --all
exit $code"""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FOOBAR_PATIENCE": f"{wait.patience()}",
    }
    return subprocess.run(
        [*prefix, *user, "sh", "-c", script, "sh", sys.executable, "-m", "topo.foobar"],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150 * wait.patience(),
    )


def audited_users(report: Path) -> dict[str, str]:
    """Where services share a user, and what would end that, as an audit says."""
    found = json.loads(report.read_text())["findings"]
    return {one["where"]: one["remedy"] for one in found if one["id"] == "process-shared-user"}


def test_an_ordinary_user_boots_or_is_told_what_to_change(tmp_path: Path) -> None:
    done = as_nobody(tmp_path)
    if done.returncode == 0:
        assert "\n200\n" in done.stdout
        return
    assert done.returncode == 3, done.stderr
    line = one_line(done.stderr)
    assert line.startswith("foobar: ")
    assert "run: " in line, line


def test_an_ordinary_user_boots_where_the_device_may_be_opened(tmp_path: Path) -> None:
    """With a /dev/net/tun of its own, seen only by this test's processes."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("this kernel has no /dev/net/tun")
    device = os.stat("/dev/net/tun").st_rdev
    make = f"mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c {os.major(device)} {os.minor(device)}"
    done = as_nobody(tmp_path, "unshare", "--mount", "sh", "-c", f'{make} && exec "$@"', "sh")
    if "user namespaces are not permitted" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200" in done.stdout.split()
    assert "x: down" in done.stdout
    shared = audited_users(tmp_path / "nobody" / "audit.json")
    assert {where.partition(":")[0] for where in shared} == {"dns", "lb", "mon", "srv1", "srv2", "srv3"}
    assert all("one user only" in remedy for remedy in shared.values())
    assert stat.S_ISCHR(os.stat("/dev/net/tun").st_mode)
