"""The commands at Mininet's prompt: the same words, the same parsers and the same refusals as outside."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import pytest
from mininet.cli import CLI

from testbed import cli, control, prompt, render, state
from testbed.commands import command, commandlist
from testbed.commands.do_completion import SCRIPTS
from testbed.disturbances import Disturbances
from testbed.state import Claim, Entry
from topo.plan import Plan
from topo.profile import Profile

Type = Callable[[str], str]
VERIFIED = {"holds": True, "differences": [], "overlays": [], "flows": 4, "switches": 4, "ms": 1.0}
UP = Entry("a", "up", 2**22 + 1, 4242, "2025-01-01T00:00:00+00:00", Profile().as_dict(), {"client": 7})


class PromptTestbed:
    """As much of a running testbed as the commands of these tests ask."""

    profile = Profile()

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.healed: list[int | None] = []
        self.disturbances = Disturbances()
        services = [("srv1", "web"), ("srv1", "database"), ("lb", "balancer")]
        self.supervisor = SimpleNamespace(units=[_unit(*service) for service in services])
        self.rollout = SimpleNamespace(verify=lambda: VERIFIED)
        faults = [{"number": 1, "by_hand": True}, {"number": 2, "by_hand": False}]
        self.active_faults = SimpleNamespace(heal=self.heal, status=lambda: faults)
        self.network = SimpleNamespace(mininet={})

    def heal(self, number: int | None) -> list[str]:
        self.healed.append(number)
        return ["kill srv1 web"]


def _unit(host: str, role: str) -> Any:
    return SimpleNamespace(service=SimpleNamespace(host=host, role=role, id=f"{host}/{role}"))


@pytest.fixture
def testbed(plan: Plan) -> PromptTestbed:
    return PromptTestbed(plan)


@pytest.fixture
def line(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> prompt.CommandLine:
    """The command line of a prompt that reads nothing by itself."""

    def begin(line: prompt.CommandLine, mininet: Any) -> None:
        line.mn, line.stdout, line.use_rawinput = mininet, None, True

    monkeypatch.setattr(CLI, "__init__", begin)
    monkeypatch.setattr(render.console, "width", 200)
    return prompt.CommandLine(prompt.AtPrompt(testbed, Path(), lambda *_: 0))


@pytest.fixture
def at_prompt(line: prompt.CommandLine, capsys: pytest.CaptureFixture[str]) -> Type:
    """``at_prompt("verify")``: what is shown then."""

    def typed(words: str) -> str:
        capsys.readouterr()
        line.onecmd(words)
        out, err = capsys.readouterr()
        return out + err

    return typed


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Type]:
    """``outside("verify")``: what is shown in a terminal, while a testbed runs that need not answer."""
    for module in (state, control):
        monkeypatch.setattr(module, "folder", lambda: tmp_path)
    claim = Claim("a")
    claim.write(UP)

    def typed(words: str) -> str:
        capsys.readouterr()
        cli.main(lambda *_: 0, words.split())
        out, err = capsys.readouterr()
        return out + err.removeprefix("foobar: ")

    yield typed
    claim.release()


# --- the same words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "verify --policy nofile",
        "verify nofile",
        "verify --polcy x",
        "policy",
        "policy aply x",
        "policy apply",
        "policy apply nofile",
        "policy check nofile",
        "fault",
        "fault kill srv1 web now",
        "heal 1x",
        "heal 1 2",
        "logs --since never",
        "switchover",
        "status now",
        "denied --folow",
    ],
)
def test_what_is_wrong_is_refused_with_the_same_line(words: str, at_prompt: Type, outside: Type) -> None:
    refused = at_prompt(words)
    assert refused == outside(words)
    assert refused.count("\n") == 1


@pytest.mark.parametrize("words", ["heal --help", "policy apply --help", "fault -h"])
def test_asking_for_help_does_not_leave_the_prompt(words: str, at_prompt: Type) -> None:
    assert at_prompt(words).startswith("usage: ")


def test_a_word_that_is_no_command_is_refused_with_those_that_are(at_prompt: Type) -> None:
    listed = ", ".join(commandlist.available(at_prompt=True))
    assert listed.startswith("status, logs, journey, top, alerts, waf, events, policy")
    assert at_prompt("stats") == f"stats: no such command; commands: {listed} (did you mean status?)\n"
    assert at_prompt("up --detach") == "up: in another terminal, not at the prompt\n"
    assert at_prompt('heal "1') == 'heal "1: No closing quotation\n'


def test_a_command_is_answered_by_the_testbed_of_the_prompt(at_prompt: Type, testbed: PromptTestbed) -> None:
    assert at_prompt("verify") == "holds: 4 flows of 4 switches, 1 ms\n"
    assert at_prompt("heal 3") == at_prompt("heal") == "healed: kill srv1 web\n"
    assert testbed.healed == [3, None]
    noted = [(disturbance.who, disturbance.what) for disturbance in testbed.disturbances.since(0)]
    assert noted == [("the prompt", "heal 3"), ("the prompt", "heal")], "and verifying disturbs nothing"
    assert at_prompt("verify --name other").startswith("unrecognized arguments: --name other")


def test_what_only_the_prompt_has_is_refused_outside(outside: Type) -> None:
    assert outside("journey") == "journey: only at a testbed's own prompt\n"


def test_the_banner_and_help_tell_of_every_command(line: prompt.CommandLine) -> None:
    for name in commandlist.available(at_prompt=True):
        assert f"  {name} " in commandlist.overview(at_prompt=True)
        assert getattr(line, f"do_{name}").__doc__.startswith(name)


# --- the list ------------------------------------------------------------------------------------------------------


def test_every_command_is_listed() -> None:
    package = importlib.import_module("testbed.commands")
    for module in pkgutil.iter_modules(package.__path__, "testbed.commands."):
        importlib.import_module(module.name)
    frontier, kinds = [command.Command], set()
    while frontier:
        kind = frontier.pop()
        frontier += kind.__subclasses__()
        if not getattr(kind, "__abstractmethods__", None):
            kinds.add(kind)
    assert {type(listed) for listed in commandlist.COMMANDS} == kinds
    modules = [type(listed).__module__ for listed in commandlist.COMMANDS]
    assert modules == [f"testbed.commands.do_{listed.name}" for listed in commandlist.COMMANDS]
    assert len(set(modules)) == len(modules)


def test_no_request_is_answered_by_two_commands() -> None:
    asked = [request for listed in commandlist.COMMANDS for request in listed.requests]
    assert sorted(asked) == sorted(commandlist.requests())


READING = {"status", "logs", "refusal", "rules", "verify", "denied", "flows", "faults", "possible faults", "services"}
READING |= {"alerts", "top", "logs-search", "logs-news", "events", "blocks"}


def test_every_request_that_may_change_the_testbed_is_noted() -> None:
    """Whoever adds a request says which kind it is."""
    changes = {name for name, request in commandlist.requests().items() if isinstance(request, command.ChangeRequest)}
    assert changes == set(commandlist.requests()) - READING
    assert changes == {"fault", "heal", "apply", "switchover", "block", "unblock", "audit"}


# --- completion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "possible"),
    [
        ("f", "flows fault"),
        ("heal ", "1 all"),
        ("policy ", "show check apply"),
        ("policy show --fi", "--file --firewall"),
        ("verify --db ", "single async semisync galera"),
        ("verify --profile h", "hardened"),
        ("flows fw1 fw", "fw2 fw3"),
        ("logs s", "srv1"),
        ("logs srv1 ", "web database"),
        ("switchover ", "srv1 srv2 srv3"),
        ("fault kill s", "srv1"),
        ("fault kill srv1 d", "database"),
        ("fault off fw", "fw1 fw2 fw3"),
        ("fault lis", "list"),
        ("block ", "client attacker"),
        ("frobnicate ", ""),
    ],
)
def test_a_word_is_completed_at_the_prompt(words: str, possible: str, line: prompt.CommandLine) -> None:
    *before, text = words.split(" ")
    suggested = line.origin.suggest(before, text)
    assert [word for word in suggested if not word.startswith("--") or text.startswith("-")] == possible.split()


def test_a_word_with_a_dash_is_completed_as_readline_splits_it(line: prompt.CommandLine) -> None:
    complete = line.complete_policy
    assert complete("fi", "policy show --fi", 14, 16) == ["file", "firewall"]
    assert complete("sh", "policy sh", 7, 9) == ["show"]


def words(*typed: str) -> list[str]:
    """What `completion words` answers."""
    return commandlist.suggest(typed[:-1], typed[-1], cli.Terminal(["completion", "words", "--", *typed]))


def test_outside_there_are_answers_without_a_testbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "folder", lambda: tmp_path)
    assert words("s") == ["status", "switchover"]
    assert {"kill", "freeze", "list"} <= set(words("fault", ""))
    assert words("exec", "sr") == ["srv1", "srv2", "srv3"]
    assert words("status", "--") == ["--help", "--json", "--name"]
    assert words("completion", "") == [*SCRIPTS, "words", "--help"]
    claim = Claim("a")
    claim.write(UP)
    assert words("down", "") == ["a", "--help", "--all"]
    assert words("status", "--name", "") == ["a"]
    claim.release()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shells_script_is_one_that_the_shell_understands(shell: str, outside: Type, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(outside(f"completion {shell}"))
    if which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_with_it(outside: Type, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(outside("completion bash"))
    (tmp_path / "state").mkdir()
    ask = f"source {script}; COMP_WORDS=(foobar fault sto); COMP_CWORD=2; _foobar; echo ${{COMPREPLY[@]}}"
    environment = {"FOOBAR_STATE": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", ask], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["stop", "stop-controller"], done.stderr
