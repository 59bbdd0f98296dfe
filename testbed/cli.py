"""The command ``python -m topo.foobar``: boots the testbed, or does one of the commands (testbed/commands)."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import state
from testbed.body import Body
from testbed.commandline import Parser, guarded
from testbed.commands import commandlist
from testbed.commands.command import AskedTestbed, Origin, RemoteTestbed
from topo import folders, profile

if TYPE_CHECKING:
    from testbed.body import Visit
    from testbed.testbed import Testbed

EPILOG = """\
Without a command: boot, show the map, open the Mininet command line; without a terminal: run `journey`.

{commands}

each has --help. From the project's folder: ./foobar test, ./foobar experiments list, ./foobar benchmarks
"""


def main(visit: Visit, argv: Sequence[str] | None = None) -> int:
    """The exit code of a command line. Every FoobarError becomes one line on standard error.

    ``visit``: what is done on a testbed once where there is no terminal, and by ``journey`` at the prompt.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _done(words, visit))


def _done(words: list[str], visit: Visit) -> int:
    terminal = Terminal(words)
    if words and not words[0].startswith("-"):
        command, options = commandlist.read(words, at_prompt=False)
        return command.run(options, terminal)
    options = boot_parser().parse_args(words)
    if os.path.lexists(options.runs):
        folders.opened(options.runs).close()
    return terminal.boot(options, _main_job(options, visit))


def boot_parser() -> Parser:
    """The parser of a command line without a command."""
    parser = Parser(
        prog="foobar",
        description="Boot www.foobar.com: box, network, firewalls and daemons.",
        allow_abbrev=False,
        epilog=EPILOG.format(commands=commandlist.overview(at_prompt=False)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default=state.DEFAULT_NAME, help="several testbeds at once need names (foobar)")
    profile.add_flags(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where results go (./runs)")
    return parser


def _main_job(options: Namespace, visit: Visit) -> Body:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return Once(options.runs, visit)
    from testbed.prompt import Interactive

    return Interactive(options.runs, visit)


class Once(Body):
    """Without a terminal: the journey of one visit, printed."""

    def __init__(self, runs: Path, visit: Visit) -> None:
        self.runs = runs
        self.visit = visit

    def __call__(self, testbed: Testbed) -> int:
        return self.visit(testbed, self.runs)


class Terminal(Origin):
    """A command typed outside of any testbed; it reaches the running ones over their control sockets."""

    at_prompt = False

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def target(self, name: str | None) -> AskedTestbed:
        return RemoteTestbed(state.up(name))

    def target_if_any(self, name: str | None) -> AskedTestbed | None:
        return self.target(name) if name or state.running() else None

    def boot(self, options: Namespace, body: Body) -> int:
        from testbed import session

        asked = profile.from_flags(options)
        profile.refuse_later(asked)
        argv = ["-m", "topo.foobar", *self.words]
        return session.in_box(options.name, asked, argv, body, detach=getattr(options, "detach", False))

    def suggest(self, words: Sequence[str], text: str) -> list[str]:
        return commandlist.suggest(words, text, self)
