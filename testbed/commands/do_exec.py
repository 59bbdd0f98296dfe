"""``exec``: a command of any kind on an emulated host, from another terminal."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Sequence

from testbed import state
from testbed.commandline import Parser, refuse_empty
from testbed.commands.command import Command, Origin
from testbed.namespaces import enter
from topo.environment import ENVIRONMENT
from topo.errors import UsageError
from topo.paths import BOX

NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid")
# neither what enters nor what was entered for outlives the one before it
DIES_WITH_PARENT = ("--pdeathsig", "KILL")
IN_THIS_FOLDER = 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"'


class ExecCommand(Command):
    """Runs on a host with this terminal's input and output. At the prompt a host's name does the same."""

    name = "exec"
    words = "HOST -- CMD..."
    summary = "run a command on an emulated host (or on `box`)"
    about = "Run a command on an emulated host, with this terminal's input and output."
    at_prompt = False
    runs_another = True

    def arguments(self, parser: Parser) -> None:
        parser.usage = "foobar exec [--name NAME] HOST -- CMD..."
        parser.add_argument("host", help="a host, or `box`, where Open vSwitch and the controller run")

    def run(self, options: Namespace, origin: Origin) -> int:  # noqa: ARG002 - it enters the namespaces by itself
        if not options.after:
            raise UsageError("exec: say the command after --, as in: exec client -- ip addr")
        if not options.after[0]:
            refuse_empty([self.name, options.host, "--", *options.after])
        entry = state.up(options.name)
        if options.host not in entry.hosts and options.host != BOX:
            raise UsageError(f"{options.host}: no such host in {entry.name}; hosts: {', '.join([*entry.hosts, BOX])}")
        as_user = ["--user", "--preserve-credentials"] if os.geteuid() else []
        words = ["nsenter", f"--target={entry.pid}", *as_user, *NAMESPACES, "--", "setpriv", *DIES_WITH_PARENT]
        if options.host != BOX:
            words += [*enter(entry.hosts[options.host]), *DIES_WITH_PARENT]
        environment = {**ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")}
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # a folder that the terminal holds open leads past the host's root
        os.execvpe(words[0], [*words, "sh", "-c", IN_THIS_FOLDER, "sh", os.getcwd(), *options.after], environment)

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        return () if before else [*(host.name for host in origin.plan().hosts), BOX]
