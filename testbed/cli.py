"""The command ``python -m topo.foobar``: boots the testbed and looks after running ones."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import control, state
from testbed.commandline import Parser, guarded
from topo import profile
from topo.errors import EXIT_HOLDS, RefusedError, UsageError, among
from topo.paths import BOX, ENVIRONMENT

if TYPE_CHECKING:
    from testbed.session import Visit

EPILOG = """\
commands:
  (none)                          boot, show the map, open the Mininet command line; without a terminal: run `journey`
  up [--detach]                   boot and stay; --detach: in the background
  status [--json]                 running testbeds and their services
  exec [--name N] HOST -- CMD...  run a command on an emulated host (or on `box`)
  switchover HOST                 another server takes the database's writes, planned (--db async, semisync)
  fault KIND TARGET [WHAT]        break something: fault kill srv1 nginx; fault list shows what is broken
  heal [NUMBER | all]             mend what fault broke
  denied [--follow]               what the firewalls have denied: samples, with rule, source and destination
  verify [--policy FILE]          prove that the firewalls do what the policy says; or: what would that policy change?
  policy show | check | apply     the rules; read a policy file; put one in force
  down [NAME | --all]             end testbeds
each has --help. From the project's folder: ./foobar test, ./foobar experiments list, ./foobar benchmarks
"""
DOWN_SECONDS = 35.0
FOLLOW_SECONDS = 0.25


def main(visit: Visit, argv: Sequence[str] | None = None) -> int:
    """The exit code of a command line. Every FoobarError becomes one line on standard error.

    ``visit``: what is done on a testbed once where there is no terminal, and by ``journey`` at the prompt.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(words, visit))


def _dispatch(words: list[str], visit: Visit) -> int:
    commands = {
        "up": _up,
        "status": _status,
        "exec": _exec,
        "switchover": _switchover,
        "fault": _fault,
        "heal": _heal,
        "denied": _denied,
        "verify": _verify,
        "policy": _policy,
        "down": _down,
    }
    if words and not words[0].startswith("-"):
        if words[0] not in commands:
            raise UsageError(f"{words[0]}: no such command; commands: {among(words[0], commands)}")
        return commands[words[0]](words[1:])
    return _boot(words, visit)


def _parser(name: str, description: str, **options: Any) -> Parser:
    return Parser(prog=f"foobar {name}".strip(), description=description, allow_abbrev=False, **options)


def _boot_parser(name: str, description: str, **options: Any) -> Parser:
    parser = _parser(name, description, **options)
    parser.add_argument("--name", default=state.DEFAULT_NAME, help="several testbeds at once need names (foobar)")
    profile.add_flags(parser)
    return parser


def _boot(words: list[str], visit: Visit) -> int:
    from testbed import session

    parser = _boot_parser(
        "",
        "Boot www.foobar.com: box, network, firewalls and daemons.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where results go (./runs)")
    options = parser.parse_args(words)
    wanted = _profile(options)
    body = (
        session.Interactive(options.runs, visit)
        if sys.stdin.isatty() and sys.stdout.isatty()
        else session.Once(options.runs, visit)
    )
    return session.in_box(options.name, wanted, ["-m", "topo.foobar", *words], body)


def _up(words: list[str]) -> int:
    from testbed import session

    parser = _boot_parser("up", "Boot a testbed and leave it running.")
    parser.add_argument("--detach", action="store_true", help="return when it is up; it stays in the background")
    options = parser.parse_args(words)
    wanted = _profile(options)
    body = session.Serve(detached=options.detach)
    argv = ["-m", "topo.foobar", "up", *words]
    code = session.in_box(options.name, wanted, argv, body, detach=options.detach)
    if options.detach and code == EXIT_HOLDS:
        print(f"{options.name} is up, in the background; end it with: down {options.name}")
    return code


def _profile(options: argparse.Namespace) -> profile.Profile:
    wanted = profile.from_flags(options)
    profile.refuse_later(wanted)
    return wanted


def _status(words: list[str]) -> int:
    parser = _parser("status", "Show running testbeds.")
    parser.add_argument("--name", help="only this one")
    parser.add_argument("--json", action="store_true", help="as JSON: a list, or one object with --name")
    options = parser.parse_args(words)
    entries = [state.the(options.name)] if options.name else state.running()
    answers = [(asdict(entry), control.ask(entry, "status") if entry.phase == "up" else None) for entry in entries]
    if options.json:
        values = [{**entry, **(answer or {}), "hosts": _host_rows(entry, answer)} for entry, answer in answers]
        print(json.dumps(values[0] if options.name else values, indent=1))
    else:
        from testbed import render

        render.console.print(render.status([(entry, answer) for entry, answer in answers]))
    return EXIT_HOLDS


def _host_rows(entry: dict[str, Any], answer: dict[str, Any] | None) -> dict[str, Any]:
    known = answer["hosts"] if answer else {}
    return {name: {"pid": pid, **known.get(name, {})} for name, pid in entry["hosts"].items()}


def _exec(words: list[str]) -> int:
    parser = _parser("exec", "Run a command on an emulated host, with this terminal's input and output.")
    parser.usage = "foobar exec [--name NAME] HOST -- CMD..."
    parser.add_argument("--name", help="which testbed, when several are running")
    parser.add_argument("host")
    before, after = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    if before and not after and "-h" not in before and "--help" not in before:
        raise UsageError("exec: say the command after --, as in: exec client -- ip addr")
    options = parser.parse_args(before)
    entry = state.up(options.name)
    if options.host not in entry.hosts and options.host != BOX:
        raise UsageError(f"{options.host}: no such host in {entry.name}; hosts: {', '.join([*entry.hosts, BOX])}")
    as_user = ["--user", "--preserve-credentials"] if os.geteuid() else []
    kinds = ["--net", "--mount", "--uts", "--ipc", "--pid"]
    enter = ["nsenter", f"--target={entry.pid}", *as_user, *kinds, "--"]
    if options.host != BOX:
        enter += ["nsenter", f"--target={entry.hosts[options.host]}", *kinds, "--"]
    there = 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"'
    environment = {**ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")}
    os.execvpe(enter[0], [*enter, "sh", "-c", there, "sh", os.getcwd(), *after], environment)


def _switchover(words: list[str]) -> int:
    parser = _parser("switchover", "Let another server take the database's writes, without losing or refusing any.")
    parser.add_argument("--name", help="which testbed, when several are running")
    parser.add_argument("host", help="a replica")
    options = parser.parse_args(words)
    told = control.ask(state.up(options.name), "switchover", host=options.host)
    print(f"{told['primary']} takes the writes instead of {told['before']}; they waited for {told['held_ms']:g} ms")
    return EXIT_HOLDS


def _denied(words: list[str]) -> int:
    parser = _parser("denied", "Show packets that the firewalls denied: samples at a bounded rate (docs/policy.md).")
    parser.add_argument("--name", help="which testbed, when several are running")
    parser.add_argument("--follow", action="store_true", help="go on with new ones until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a line")
    options = parser.parse_args(words)
    entry = state.up(options.name)
    from testbed import render

    after = 0.0
    while True:
        for event in control.ask(entry, "denied", after=after):
            after = event["time"]
            print(json.dumps(event) if options.json else render.denied(event), flush=True)
        if not options.follow:
            return EXIT_HOLDS
        time.sleep(FOLLOW_SECONDS)


def _verify(words: list[str]) -> int:
    from testbed import policies

    return policies.verify(words)


def _policy(words: list[str]) -> int:
    from testbed import policies

    return policies.manage(words)


def _fault(words: list[str]) -> int:
    parser = _parser("fault", "Break something in a running testbed; it stays broken until: heal.")
    parser.usage = "foobar fault [--name NAME] KIND [TARGET] [WHAT], or: fault list"
    parser.add_argument("--name", help="which testbed, when several are running")
    parser.add_argument("kind", help="list: what is broken now; kinds: the README, or a wrong one here")
    parser.add_argument("target", nargs="?", default="", help="a host or switch")
    parser.add_argument("what", nargs="?", default="", help="its service, or the other end")
    options = parser.parse_args(words)
    entry = state.up(options.name)
    from testbed import render

    if options.kind == "list":
        rows = control.ask(entry, "faults")
    else:
        rows = [control.ask(entry, "fault", kind=options.kind, target=options.target, what=options.what)]
    for row in rows:
        print(render.fault(row))
    return EXIT_HOLDS


def _heal(words: list[str]) -> int:
    parser = _parser("heal", "Mend what `fault` broke; returns when it is back and ready.")
    parser.add_argument("--name", help="which testbed, when several are running")
    parser.add_argument("number", nargs="?", default="all", help="which fault, as `fault list` numbers them (all)")
    options = parser.parse_args(words)
    if options.number != "all" and not options.number.isdecimal():
        raise UsageError(f"heal {options.number}: a fault's number, or all")
    number = None if options.number == "all" else int(options.number)
    for fault in control.ask(state.up(options.name), "heal", number=number):
        print(f"healed: {fault}")
    return EXIT_HOLDS


def _down(words: list[str]) -> int:
    parser = _parser("down", "End a running testbed; nothing of it is left.")
    parser.add_argument("name", nargs="?", help="which one, when several are running")
    parser.add_argument("--all", action="store_true", help="every one")
    options = parser.parse_args(words)
    if options.all and options.name:
        raise UsageError("say a name or --all, not both")
    for entry in state.running() if options.all else [state.the(options.name)]:
        _end(entry)
        print(f"{entry.name}: down")
    return EXIT_HOLDS


def _end(entry: state.Entry) -> None:
    """Ask the launcher to end its box; insist when it does not. Its lock tells that it has gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(entry.launcher, number)
        deadline = time.monotonic() + DOWN_SECONDS
        while time.monotonic() < deadline:
            if state.entry(entry.name) is None:
                return
            time.sleep(0.02)
    raise RefusedError(f"testbed {entry.name} does not end (launcher pid {entry.launcher})")
