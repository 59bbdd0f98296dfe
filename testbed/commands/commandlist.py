"""Every command, listed by hand: the place to add one. And the parsers that are made from the list."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from testbed.commandline import Parser, refuse_empty
from testbed.commands.command import Command, Origin, Request
from testbed.commands.do_alerts import AlertsCommand
from testbed.commands.do_audit import AuditCommand
from testbed.commands.do_block import BlockCommand
from testbed.commands.do_blocks import BlocksCommand
from testbed.commands.do_completion import CompletionCommand
from testbed.commands.do_denied import DeniedCommand
from testbed.commands.do_down import DownCommand
from testbed.commands.do_events import EventsCommand
from testbed.commands.do_exec import ExecCommand
from testbed.commands.do_fault import FaultCommand
from testbed.commands.do_flows import FlowsCommand
from testbed.commands.do_heal import HealCommand
from testbed.commands.do_journey import JourneyCommand
from testbed.commands.do_logs import LogsCommand
from testbed.commands.do_policy import PolicyCommand
from testbed.commands.do_status import StatusCommand
from testbed.commands.do_switchover import SwitchoverCommand
from testbed.commands.do_top import TopCommand
from testbed.commands.do_unblock import UnblockCommand
from testbed.commands.do_up import UpCommand
from testbed.commands.do_verify import VerifyCommand
from testbed.commands.do_waf import WafCommand
from testbed.commands.suggestions import suggestions, verbs_of
from topo.errors import UsageError, among

COMMANDS: tuple[Command, ...] = (
    UpCommand(),
    StatusCommand(),
    ExecCommand(),
    LogsCommand(),
    JourneyCommand(),
    DownCommand(),
    TopCommand(),
    AlertsCommand(),
    WafCommand(),
    EventsCommand(),
    PolicyCommand(),
    VerifyCommand(),
    AuditCommand(),
    DeniedCommand(),
    BlocksCommand(),
    BlockCommand(),
    UnblockCommand(),
    FlowsCommand(),
    FaultCommand(),
    HealCommand(),
    SwitchoverCommand(),
    CompletionCommand(),
)


def requests() -> Mapping[str, Request]:
    """All that a running testbed can be asked."""
    return {name: request for command in COMMANDS for name, request in command.requests.items()}


def available(*, at_prompt: bool) -> dict[str, Command]:
    """The commands that can be typed there, by name."""
    return {command.name: command for command in COMMANDS if (command.at_prompt if at_prompt else command.outside)}


def named(word: str, *, at_prompt: bool) -> Command:
    """The command of that name. Raises UsageError for a word that is none there, naming those that are."""
    there = available(at_prompt=at_prompt)
    if word in there:
        return there[word]
    if word in available(at_prompt=not at_prompt):
        elsewhere = "in another terminal, not at the prompt" if at_prompt else "only at a testbed's own prompt"
        raise UsageError(f"{word}: {elsewhere}")
    raise UsageError(f"{word}: no such command; commands: {among(word, there)}")


def parser(*, at_prompt: bool) -> Parser:
    """The parser of every command that can be typed there."""
    root = Parser(prog="foobar", allow_abbrev=False, add_help=False)
    parsers = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in available(at_prompt=at_prompt).values():
        prog = command.name if at_prompt else f"foobar {command.name}"
        own = parsers.add_parser(command.name, prog=prog, description=command.about, allow_abbrev=False)
        own.set_defaults(name=None)
        command.arguments(own)
        if command.of_one_testbed and not at_prompt:
            for reader in verbs_of(own).values() or (own,):
                reader.add_argument("--name", help="which testbed, when several are running")
    return root


def read(words: Sequence[str], *, at_prompt: bool) -> tuple[Command, Namespace]:
    """The command that these words are, and its options. Raises UsageError for wrong ones; SystemExit after --help."""
    own, after = list(words), []
    if "--" in own and getattr(available(at_prompt=at_prompt).get(words[0]), "runs_another", False):
        own, after = own[: own.index("--")], own[own.index("--") + 1 :]
    refuse_empty(own)
    command = named(words[0], at_prompt=at_prompt)
    options = parser(at_prompt=at_prompt).parse_args(own)
    options.after = after
    return command, options


def overview(*, at_prompt: bool) -> str:
    """The commands in groups, a line each."""
    lines = []
    for group, commands in groupby(available(at_prompt=at_prompt).values(), lambda command: command.group):
        lines.append(f"{group}:")
        lines += [f"  {f'{command.name} {command.words}':31} {command.summary}" for command in commands]
    return "\n".join(lines)


def suggest(words: Sequence[str], text: str, origin: Origin) -> list[str]:
    """The words that begin with ``text`` and may follow these words of a command line, typed there."""
    if not words:
        possible: Iterable[str] = available(at_prompt=origin.at_prompt)
    elif words[0] in available(at_prompt=origin.at_prompt):
        command = named(words[0], at_prompt=origin.at_prompt)
        own = verbs_of(parser(at_prompt=origin.at_prompt))[command.name]
        possible = suggestions(own, words[1:], lambda before: command.candidates(before, origin))
    else:
        possible = ()
    return [word for word in dict.fromkeys(possible) if word.startswith(text)]
