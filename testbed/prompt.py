"""Mininet's command line, with the testbed's own commands (testbed/commands) beside its usual ones.

One of the two files that import mininet (the other is network.py).
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mininet.cli import CLI

from testbed import render
from testbed.body import Body
from testbed.commands import commandlist
from testbed.commands.command import AskedTestbed, Command, LocalTestbed, Origin
from topo.errors import EXIT_HOLDS, FoobarError, UsageError

if TYPE_CHECKING:
    from testbed.body import Visit
    from testbed.testbed import Testbed

BANNER = """\
Type help for all commands. A host's name first runs a command there: client curl https://www.foobar.com/

{commands}

Each has --help. Leave with exit or Ctrl-D."""


class AtPrompt(Origin):
    """A command typed at a testbed's own prompt."""

    at_prompt = True

    def __init__(self, testbed: Testbed, runs: Path, visit: Visit) -> None:
        self.testbed = testbed
        self.runs = runs
        self.visited = visit
        self.here = LocalTestbed(testbed, commandlist.requests())

    def target(self, name: str | None) -> AskedTestbed:  # noqa: ARG002 - it is this one
        return self.here

    def target_if_any(self, name: str | None) -> AskedTestbed | None:
        return self.target(name)

    def visit(self) -> int:
        return self.visited(self.testbed, self.runs)

    def suggest(self, words: Sequence[str], text: str) -> list[str]:
        return commandlist.suggest(words, text, self)


class CommandLine(CLI):  # type: ignore[misc]
    """Runs until the person leaves; the testbed ends with it."""

    def __init__(self, origin: AtPrompt) -> None:
        self.origin = origin
        render.console.print(BANNER.format(commands=commandlist.overview(at_prompt=True)))
        super().__init__(origin.testbed.network.mininet)

    def onecmd(self, line: str) -> Any:
        """One line typed; an error of ours is a line on the screen and the session goes on."""
        try:
            return super().onecmd(line)
        except FoobarError as error:
            lines = "\n".join(filter(None, [str(error), error.detail]))
            render.console.print(lines, style="red")
            return None

    def default(self, line: str) -> Any:
        """A host's name and a command for it; anything else is no command."""
        word = line.split()[0]
        if word in self.mn:
            return super().default(line)
        return self.do(line)

    def do(self, line: str) -> None:
        """One of our commands."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"{line}: {error}") from None
        try:
            command, options = commandlist.read(words, at_prompt=True)
        except SystemExit:  # --help
            return
        command.run(options, self.origin)

    def do_pingall(self, line: str) -> None:
        """pingall [SECONDS]: ping between all hosts; a pair that is kept apart waits for SECONDS (1)"""
        super().do_pingall(line or "1")

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        """Commands, and hosts to run a command on."""
        hosts = [host.name for host in self.origin.testbed.plan.hosts]
        return [*super().completenames(text, *ignored), *(name for name in hosts if name.startswith(text))]


def _do(command: Command) -> Callable[[CommandLine, str], None]:
    def do(self: CommandLine, line: str) -> None:
        self.do(f"{command.name} {line}")

    do.__doc__ = f"{command.name} {command.words}".strip() + f": {command.summary}"
    return do


def _complete(command: Command) -> Callable[..., list[str]]:
    def complete(self: CommandLine, text: str, line: str, begin: int, _end: int) -> list[str]:
        # readline's word begins after a dash too; ours after a space
        words = line[: line.rindex(" ", 0, begin) + 1].split()
        typed = line[line.rindex(" ", 0, begin) + 1 : begin]
        return [word.removeprefix(typed) for word in self.origin.suggest([command.name, *words[1:]], typed + text)]

    return complete


for _command in commandlist.available(at_prompt=True).values():
    setattr(CommandLine, f"do_{_command.name}", _do(_command))
    setattr(CommandLine, f"complete_{_command.name}", _complete(_command))


class Interactive(Body):
    """With a terminal: Mininet's command line and ours."""

    def __init__(self, runs: Path, visit: Visit) -> None:
        self.runs = runs
        self.visit = visit

    def __call__(self, testbed: Testbed) -> int:
        # at the prompt Ctrl-C ends the command that runs, not the testbed
        signal.signal(signal.SIGINT, signal.default_int_handler)
        CommandLine(AtPrompt(testbed, self.runs, self.visit))
        return EXIT_HOLDS
