"""The command line: every kind of bad input gets one line on standard error and its exit code; nothing starts."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import _parser as benchmarks_parser
from benchmarks.__main__ import main as benchmarks_main
from controllers import jsonsocket
from experiments.__main__ import _parser as experiments_parser
from experiments.__main__ import main as experiments_main
from testbed import box, cli, commandline, control, detaching, launcher, preflight, state
from testbed.commands import commandlist, do_down
from testbed.commands.suggestions import verbs_of
from testbed.state import Claim, Entry
from topo.early import BOX_VARIABLE
from topo.errors import (
    DeadlineError,
    FoobarError,
    MissingError,
    PlanError,
    PolicyError,
    RefusedError,
    ServiceError,
    UsageError,
)

PROJECT = Path(__file__).resolve().parent.parent
ENTRY = Entry("a", "up", 2**22 + 1, 4242, "2025-01-01T00:00:00+00:00", {}, {"client": 7, "srv1": 9})
COMMANDS = ", ".join(commandlist.available(at_prompt=False))
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("status", "--json") -> (exit code, output, error output)``, on a machine of its own that boots nothing."""
    for module in (state, control):
        monkeypatch.setattr(module, "folder", lambda: tmp_path)
    monkeypatch.setattr(preflight, "check", lambda: None)
    monkeypatch.delenv(BOX_VARIABLE, raising=False)

    def no_box(*_: object, **__: object) -> int:
        raise AssertionError("a box was about to be made")

    monkeypatch.setattr(launcher, "Launcher", no_box)

    def no_visit(*_: object) -> int:
        raise AssertionError("a visit was about to be made")

    def call(*words: str) -> tuple[int, str, str]:
        try:
            code: object = cli.main(no_visit, words)
        except SystemExit as leaving:
            code = leaving.code
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return code, out, err

    return call


@pytest.fixture
def running() -> Callable[..., Claim]:
    """Testbeds that are there as far as their state goes."""

    def claim(name: str, **changes: object) -> Claim:
        made = Claim(name)
        made.write(replace(ENTRY, name=name, **changes))  # type: ignore[arg-type]
        return made

    return claim


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--nonsense", "unrecognized arguments: --nonsense (see --help)"),
        ("--servers", "argument --servers: expected one argument (see --help)"),
        ("--serv 3", "unrecognized arguments: --serv 3 (see --help)"),
        ("--balance random", "--balance random: unknown; possible values: roundrobin, leastconn, source"),
        ("--servers 0", "--servers 0: must be a whole number from 1 to 30"),
        ("--servers x", "--servers x: must be a whole number"),
        ("--profile best", "--profile best: unknown; possible values: seed, hardened"),
        (
            "--tls mutul",
            "--tls mutul: unknown; possible values: terminate, reencrypt, passthrough, mutual (did you mean mutual?)",
        ),
        (
            "--db galera --tls mutual",
            "--db galera --tls mutual: databases of a cluster are not encrypted; use --tls reencrypt",
        ),
        ("--stack diverse", "--stack diverse: not built yet; available today: --stack uniform"),
        ("up --layout tiered", "--layout tiered: not built yet; available today: --layout stacked"),
        ("up --detach now", "unrecognized arguments: now (see --help)"),
        ("switchover", "the following arguments are required: host (see --help)"),
        ("--db async --servers 1", "--db async --servers 1: no server could take over; use --servers 2 or more"),
        (
            "stats",
            f"stats: no such command; commands: {COMMANDS} (did you mean status?)",
        ),
        ("frobnicate", f"frobnicate: no such command; commands: {COMMANDS}"),
        ("status --name nobody", "no testbed is running; start one with: up --detach"),
        ("status extra", "unrecognized arguments: extra (see --help)"),
        ("top", "top: it needs a terminal; without one: top --once"),
        ("exec", "the following arguments are required: host (see --help)"),
        ("exec client", "exec: say the command after --, as in: exec client -- ip addr"),
        ("exec client --", "exec: say the command after --, as in: exec client -- ip addr"),
        ("exec client ls -- x", "unrecognized arguments: ls (see --help)"),
        ("exec client -- ls", "no testbed is running; start one with: up --detach"),
        ("down", "no testbed is running; start one with: up --detach"),
        ("down ../x", "no testbed is running; start one with: up --detach"),
        ("down a --all", "say a name or --all, not both"),
        ("denied", "no testbed is running; start one with: up --detach"),
        ("verify", "no testbed is running; start one with: up --detach"),
        ("verify --policy nowhere", "nowhere: No such file or directory"),
        ("policy", "policy: say one of: show, check, apply"),
        ("policy aply", "policy: say one of: show, check, apply (did you mean apply?)"),
        ("policy apply x", "no testbed is running; start one with: up --detach"),
        ("policy check", "the following arguments are required: FILE (see --help)"),
    ],
)
def test_bad_usage_is_one_line_and_64(run: Run, words: str, line: str) -> None:
    assert run(*words.split()) == (64, "", f"foobar: {line}\n")


def typed(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[str, ...]]:
    """Every command line of a parser that has an empty argument somewhere: in place of a word, or as a flag's value."""
    yield (*words, "")
    yield (*words, "a", "")
    for action in parser._actions:
        for flag in action.option_strings:
            yield from () if action.nargs == 0 else ((*words, flag, ""), (*words, f"{flag}="))
    for verb, own in verbs_of(parser).items():
        yield from typed(own, *words, verb)


def empties(typist: str) -> list[tuple[str, ...]]:
    parsers = {
        "outside": lambda: commandlist.parser(at_prompt=False),
        "prompt": lambda: commandlist.parser(at_prompt=True),
        "boot": cli.boot_parser,
        "experiments": experiments_parser,
        "benchmarks": benchmarks_parser,
    }
    lines = list(typed(parsers[typist]()))
    assert len(lines) >= 4, "the parser was looked at"
    return lines


@pytest.mark.parametrize("typist", ["outside", "boot", "experiments", "benchmarks"])
def test_an_empty_argument_is_a_usage_error_in_every_command(
    run: Run, running: Callable[..., Claim], capsys: pytest.CaptureFixture[str], typist: str
) -> None:
    """``down "$UNSET"`` must not mean ``down``."""
    mains = {"experiments": experiments_main, "benchmarks": benchmarks_main}
    claim = running("a")
    for words in empties(typist):
        if typist in mains:
            code, (out, err) = mains[typist](words), capsys.readouterr()
        else:
            code, out, err = run(*words)
        assert (code, out, err.count("\n")) == (64, "", 1), words
        assert err == f"foobar: {shlex.join(words)}: an empty argument; is a variable not set?\n"
    assert state.running() != [], "nothing was ended"
    claim.release()


def test_an_empty_argument_is_a_usage_error_at_the_prompt(running: Callable[..., Claim]) -> None:
    for words in empties("prompt"):
        with pytest.raises(UsageError, match=r": an empty argument; is a variable not set\?$"):
            commandlist.read(words, at_prompt=True)


def test_another_commands_arguments_may_be_empty_but_not_the_command(run: Run, running: Callable[..., Claim]) -> None:
    claim = running("a", phase="booting", hosts={}, pid=0)
    assert run("exec", "client", "--", "grep", "", "file") == (
        2,
        "",
        "foobar: testbed a is booting: try again when it is up\n",
    )
    code, _, err = run("exec", "client", "--", "", "file")
    assert (code, err) == (64, "foobar: exec client -- '' file: an empty argument; is a variable not set?\n")
    for asked in (("stat", ""), ("",)):
        assert run("completion", "words", "--", *asked)[0] == 0, "what a shell asks at a Tab after a space"
    claim.release()


def test_help_is_no_error(run: Run) -> None:
    for words in (["--help"], ["up", "--help"], ["status", "--help"], ["exec", "--help"], ["down", "--help"]):
        code, out, err = run(*words)
        assert (code, err) == (0, "")
        assert out.startswith("usage: foobar")
    assert all(commandline in run("--help")[1] for commandline in ("up", "status", "exec", "down", "journey"))


def test_nothing_running_is_fine_for_status_and_down_all(run: Run) -> None:
    assert run("status", "--json") == (0, "[]\n", "")
    assert run("status") == (0, "no testbed is running; start one with: up --detach\n", "")
    assert run("down", "--all") == (0, "", "")


def test_several_testbeds_need_names(run: Run, running: Callable[..., Claim]) -> None:
    claims = [running("a"), running("b")]
    assert run("down") == (64, "", "foobar: several testbeds are running; say which with --name: a, b\n")
    assert run("exec", "--name", "c", "lb", "--", "ls")[2] == "foobar: no testbed named c is running; running: a, b\n"
    for claim in claims:
        claim.release()


def test_an_unknown_host_is_refused_with_the_known_ones(run: Run, running: Callable[..., Claim]) -> None:
    claim = running("a")
    assert run("exec", "srv9", "--", "ls") == (
        64,
        "",
        "foobar: srv9: no such host in a; hosts: client, srv1, box\n",
    )
    claim.release()


def test_exec_while_it_boots_is_refused(run: Run, running: Callable[..., Claim]) -> None:
    claim = running("a", phase="booting", hosts={}, pid=0)
    for host in ("client", "box"):
        assert run("exec", host, "--", "ls") == (2, "", "foobar: testbed a is booting: try again when it is up\n")
    claim.release()


def test_status_of_some_that_do_not_answer_is_a_row_of_each_asked_side_by_side(
    run: Run, running: Callable[..., Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped ones, say: their sockets take the question, and nothing comes back."""
    monkeypatch.setattr("testbed.control.HEARD_SECONDS", 0.3)
    claims = [running(name) for name in ("a", "b", "c")]
    began = time.monotonic()
    code, out, err = run("status", "--json")
    assert time.monotonic() - began < 0.8
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [(row["name"], row["answers"], row["steady"], row["looked"]) for row in rows] == [
        (name, False, False, None) for name in ("a", "b", "c")
    ]
    assert rows[0]["problems"] == ["testbed a does not answer (timed out); it may be booting or leaving"]
    assert "testbed b does not answer" in run("status", "--name", "b")[1]
    for claim in claims:
        claim.release()


def test_status_of_one_that_boots(run: Run, running: Callable[..., Claim]) -> None:
    claim = running("a", phase="booting", hosts={}, pid=0)
    code, out, err = run("status", "--json", "--name", "a")
    assert (code, err) == (0, "")
    assert '"phase": "booting"' in out
    assert "a: booting" in run("status")[1]
    claim.release()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 64),
        (PlanError("x"), 64),
        (PolicyError("x"), 64),
        (RefusedError("x"), 2),
        (MissingError("x"), 3),
        (ServiceError("x"), 3),
        (DeadlineError("x"), 3),
        (FoobarError("x"), 3),
    ],
)
def test_every_error_has_its_exit_code(error: FoobarError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise error

    assert commandline.guarded(work) == code
    assert capsys.readouterr().err == "foobar: x\n"


def test_a_logs_tail_stands_under_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise ServiceError("srv1/web died", detail="--- srv1:/var/log/nginx.log\nno such user")

    assert commandline.guarded(work) == 3
    assert capsys.readouterr().err == "foobar: srv1/web died\n--- srv1:/var/log/nginx.log\nno such user\n"


def test_an_unexpected_error_is_3_never_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.guarded(lambda: 1 // 0) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "foobar: unexpected ZeroDivisionError: integer division or modulo by zero"


@pytest.mark.parametrize(("status", "code"), [(None, 0), (0, 0), (130, 130), (1, 3), (2, 3), ("words", 3)])
def test_a_library_that_exits_is_3_never_1(status: object, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.guarded(lambda: sys.exit(status)) == code  # type: ignore[arg-type]
    assert ("gave up" in capsys.readouterr().err) == (code == 3)


def test_an_interruption_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise KeyboardInterrupt

    assert commandline.guarded(work) == 130
    assert capsys.readouterr().err == "foobar: interrupted; nothing is left behind\n"


def test_output_that_nobody_reads_is_141() -> None:
    def work() -> int:
        raise BrokenPipeError

    assert commandline.guarded(work) == 141


@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["in the middle of it", "when all is done"])
def test_output_that_nobody_reads_is_no_complaint(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = "from testbed.commandline import guarded; raise SystemExit(guarded(lambda: print('short') or 0))"
    argv, environment = [sys.executable, "-c", words], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(argv, cwd=PROJECT, env=environment, stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_missing_program_is_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**_: object) -> None:
        raise MissingError("missing: nginx (packages: nginx); run: sudo ./foobar, which installs them")

    monkeypatch.setattr(preflight, "check", missing)
    for words in ([], ["up"], ["up", "--detach"]):
        code, out, err = run(*words)
        assert (code, out) == (3, "")
        assert err == "foobar: missing: nginx (packages: nginx); run: sudo ./foobar, which installs them\n"


# --- down ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """``launched("a", work)``: a process that holds the name as a launcher does, and does that work; its pid."""
    children: list[int] = []
    monkeypatch.setattr("testbed.commands.do_down.DEAF_SECONDS", 0.5)
    monkeypatch.setattr(control, "HEARD_SECONDS", 0.5)

    def launch(name: str, work: Callable[[Claim], None]) -> int:
        ready, readies = os.pipe()
        pid = os.fork()
        if pid == 0:
            claim = Claim(name)
            claim.write(replace(ENTRY, name=name, launcher=os.getpid()))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(readies, b"1")
            work(claim)
            os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(readies)
        children.append(pid)
        return pid

    yield launch
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def stops_itself(_: Claim) -> None:
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


def hangs(_: Claim) -> None:
    time.sleep(60)


@pytest.mark.parametrize("work", [stops_itself, hangs])
def test_a_deaf_testbed_is_ended_soon(work: Callable[[Claim], None], run: Run, launched: Callable[..., int]) -> None:
    """It was stopped, or hangs: nothing is waited for that could be saved."""
    launched("a", work)
    began = time.monotonic()
    assert run("down", "a") == (0, "a: down\n", "")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("busy", [False, True], ids=["it answers", "it works"])
def test_a_testbed_that_lives_has_its_time_to_leave(
    busy: bool, run: Run, launched: Callable[..., int], tmp_path: Path
) -> None:
    """It is asked to leave while it is stopped; then it saves what it has."""

    def leaves_slowly(claim: Claim) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        until = time.monotonic() + 1.5
        if busy:
            while time.monotonic() < until:
                pass
        else:
            jsonsocket.serve(os.dup(claim.control.fileno()), {})
            time.sleep(1.5)
        (tmp_path / "saved").touch()

    launched("a", leaves_slowly)
    assert run("down", "a") == (0, "a: down\n", "")
    assert (tmp_path / "saved").exists()


def test_one_that_does_not_end_keeps_no_other_up(
    run: Run, launched: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for only a moment; the other one has the product's time."""
    send, gone_within = state.send, do_down._gone_within
    monkeypatch.setattr(state, "send", lambda entry, number: None if entry.name == "a" else send(entry, number))
    monkeypatch.setattr(
        do_down, "_gone_within", lambda entry, s: gone_within(entry, min(s, 0.1) if entry.name == "a" else s)
    )
    for name in ("a", "b"):
        launched(name, hangs)
    code, out, err = run("down", "--all")
    assert (code, out) == (2, "b: down\n")
    assert err.startswith("foobar: testbed a does not end")


# --- the background process of `up --detach` ----------------------------------------------------------------------


def test_the_background_processs_code_is_the_commands() -> None:
    assert detaching.in_background(lambda ready: 7) == 7


def test_its_error_keeps_its_code() -> None:
    def work(ready: Callable[[], None]) -> int:
        raise UsageError("a testbed named a is running")

    assert detaching.in_background(work) == 64


def test_what_it_prints_reaches_a_file(tmp_path: Path) -> None:
    """A stream of Python's remembers that it was made for a file: in the background it leads to a pipe."""
    code = """
import sys
from testbed import commandline, detaching
def work(ready):
    print("up"), print("wrong", file=sys.stderr)
    return 7
sys.exit(commandline.guarded(lambda: detaching.in_background(work)))
"""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as output, err.open("w") as errors:
        argv = [sys.executable, "-c", code]
        done = subprocess.run(argv, cwd=PROJECT, stdout=output, stderr=errors, timeout=30, check=False)
    assert (done.returncode, out.read_text(), err.read_text()) == (7, "up\n", "wrong\n")


def test_it_never_ends_without_a_word(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(work: object) -> int:
        raise OSError("Illegal seek")

    monkeypatch.setattr(detaching, "guarded", broken)
    assert detaching.in_background(lambda ready: 0) == 3
    assert capfd.readouterr().err.endswith("foobar: unexpected OSError: Illegal seek\n")


def test_it_stays_when_it_has_said_that_it_is_up(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def work(ready: Callable[[], None]) -> int:
        pid_file.write_text(str(os.getpid()))
        ready()
        time.sleep(60)
        return 0

    assert detaching.in_background(work) == 0
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_ctrl_c_while_it_boots_ends_the_background_process_too(tmp_path: Path) -> None:
    """It leads a session of its own, so the terminal's Ctrl-C reaches only the process in the foreground."""
    pid_file = tmp_path / "pid"

    def work(ready: Callable[[], None]) -> int:
        pid_file.write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)
        return 0

    with pytest.raises(KeyboardInterrupt):
        detaching.in_background(work)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_ctrl_c_at_the_fork_itself_is_not_lost() -> None:
    """Python prints and forgets what is raised in the functions that it calls after a fork."""
    code = """
import os, signal, time
from testbed import detaching
os.register_at_fork(after_in_parent=lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.01)))
try:
    detaching.in_background(lambda ready: time.sleep(60))
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_the_box_gets_its_ties_and_passes_them_on_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert box.inside() is None
    read, write = os.pipe()
    for descriptor in (read, write):
        os.set_inheritable(descriptor, True)
    monkeypatch.setenv(BOX_VARIABLE, f'{{"name": "a", "control": {read}, "report": {write}, "lifeline": {read}}}')
    assert box.inside() == box.Ties("a", read, write, read)
    assert not os.get_inheritable(read)
    assert not os.get_inheritable(write)
    assert BOX_VARIABLE not in os.environ
    os.close(read)
    os.close(write)


def test_reports_are_one_json_object_a_line() -> None:
    read, write = os.pipe()
    box.report(box.Ties("a", -1, write, -1), phase="up", hosts={"client": 1})
    os.close(write)
    with open(read) as lines:
        assert lines.read() == '{"phase": "up", "hosts": {"client": 1}}\n'


# --- policies ------------------------------------------------------------------------------------------------------


def test_a_policy_is_compared_with_the_profiles(run: Run, tmp_path: Path) -> None:
    code, text, _ = run("policy", "show", "--file")
    assert code == 0
    file = tmp_path / "my.policy"
    file.write_text(text)
    assert run("verify", "--policy", str(file)) == (
        0,
        "0 opened, 0 closed, compared with the profile's policy\n",
        "",
    )
    file.write_text(f"allow tcp attacker -> srv2 port 3306 # db-anywhere: oops\n{text}")
    code, out, err = run("verify", "--policy", str(file))
    assert (code, err) == (1, "")
    assert out.splitlines()[0] == "attacker -> srv2 tcp/3306: now open, by rule 'db-anywhere'"
    code, out, _ = run("verify", "--policy", str(file), "--json", "--firewall", "off")
    assert code == 0, "nothing more is open than without any firewall"
    assert json.loads(out)["opened"] == []
    assert json.loads(out)["closed"]
    file.write_text("".join(line for line in text.splitlines(keepends=True) if "web:" not in line))
    assert run("verify", "--policy", str(file))[:1] == (0,)


def test_a_bad_policy_is_64_with_all_mistakes(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "my.policy"
    file.write_text("allow tcp internet -> srv22\n\nalow tcp client -> lb port 70000\n")
    for words in (["verify", "--policy"], ["policy", "check"]):
        code, out, err = run(*words, str(file))
        assert (code, out) == (64, "")
        assert err.splitlines() == [
            f"foobar: {file}: 3 mistakes",
            f"{file}:1:23: srv22: no such host, zone or group; did you mean srv2?",
            f"{file}:3:1: alow: no such action; did you mean allow?",
            f"{file}:3:28: 70000: a port is at most 65535",
        ]


def test_what_a_policy_says_in_vain_is_said(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "my.policy"
    file.write_text("deny tcp client -> lb # shut: a\nallow tcp client -> lb port 80 # late: b\n")
    code, out, _ = run("policy", "check", str(file))
    assert code == 0
    assert "note: late: shadowed: shut above it decides about all that it speaks of" in out
    assert "never hit" not in out


# --- denied packets ------------------------------------------------------------------------------------------------

EVENTS = [
    {"time": 100.25, "switch": "fw1", "rule": "deny-rest", "src": "attacker", "dst": "srv1", "proto": "tcp",
     "port": 3306, "in_port": 1},
    {"time": 101.5, "switch": "core", "rule": None, "src": "lb", "dst": "10.0.9.9", "proto": "arp",
     "port": None, "in_port": 4},
]  # fmt: skip


def test_denied_packets_are_shown(run: Run, running: Callable[..., Claim], monkeypatch: pytest.MonkeyPatch) -> None:
    claim = running("a")
    monkeypatch.setattr("testbed.control.ask", lambda *_, after: [each for each in EVENTS if each["time"] > after])
    code, out, _ = run("denied")
    assert code == 0
    assert [line.split("  ", 1)[1] for line in out.splitlines()] == [
        "attacker -> srv1 tcp/3306: denied by deny-rest on fw1",
        "lb -> 10.0.9.9 arp: denied by a rule on core",
    ]
    code, out, _ = run("denied", "--json")
    assert [json.loads(line) for line in out.splitlines()] == EVENTS
    claim.release()


def test_denied_packets_are_followed(run: Run, running: Callable[..., Claim], monkeypatch: pytest.MonkeyPatch) -> None:
    claim = running("a")
    asked: list[float] = []

    def ask(*_: object, after: float) -> list[dict[str, object]]:
        asked.append(after)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return EVENTS[len(asked) - 1 :][:1]

    monkeypatch.setattr("testbed.control.ask", ask)
    monkeypatch.setattr("testbed.commands.do_denied.FOLLOW_SECONDS", 0)
    code, out, _ = run("denied", "--follow", "--json")
    assert (code, asked) == (130, [0.0, 100.25, 101.5])
    assert [json.loads(line) for line in out.splitlines()] == EVENTS
    claim.release()
