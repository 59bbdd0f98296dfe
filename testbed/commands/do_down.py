"""``down``: end running testbeds."""

from __future__ import annotations

import signal
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence

from testbed import state
from testbed.commandline import Parser
from testbed.commands.command import Command, Origin
from topo.errors import EXIT_HOLDS, RefusedError, UsageError
from topo.plaintext import say

DOWN_SECONDS = 35.0


class DownCommand(Command):
    """Ends testbeds and returns when nothing of them is left."""

    name = "down"
    words = "[NAME | --all]"
    summary = "end testbeds"
    about = "End a running testbed; nothing of it is left."
    at_prompt = False
    of_one_testbed = False

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("name", nargs="?", help="which one, when several are running")
        parser.add_argument("--all", action="store_true", help="every one")

    def run(self, options: Namespace, origin: Origin) -> int:  # noqa: ARG002 - a testbed that boots has no target yet
        if options.all and options.name:
            raise UsageError("say a name or --all, not both")
        for entry in state.running() if options.all else [state.the(options.name)]:
            _end(entry)
            say(f"{entry.name}: down")
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:  # noqa: ARG002 - those of the machine
        return () if before else [entry.name for entry in state.running()]


def _end(entry: state.Entry) -> None:
    """Ask the launcher to end its box; insist when it does not. Its lock tells that it has gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        state.send(entry, number)
        deadline = time.monotonic() + DOWN_SECONDS
        while time.monotonic() < deadline:
            if state.entry(entry.name) is None:
                return
            time.sleep(0.02)
    raise RefusedError(f"testbed {entry.name} does not end (launcher pid {entry.launcher})")
