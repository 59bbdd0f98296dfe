"""``up``: boot a testbed and leave it running."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING

from testbed import state
from testbed.body import Body
from testbed.commandline import Parser
from testbed.commands.command import BootingCommand, Origin
from topo import profile
from topo.errors import EXIT_HOLDS
from topo.plaintext import say

if TYPE_CHECKING:
    from testbed.testbed import Testbed

POLL_SECONDS = 0.5


class UpCommand(BootingCommand):
    """Boots, and stays until it is ended."""

    name = "up"
    words = "[--detach]"
    summary = "boot and stay; --detach: in the background"
    about = "Boot a testbed and leave it running."

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--name", default=state.DEFAULT_NAME, help="several testbeds at once need names (foobar)")
        parser.add_argument("--detach", action="store_true", help="return when it is up; it stays in the background")
        profile.add_flags(parser)

    def body(self, options: Namespace) -> Body:
        return Serve(detached=options.detach)

    def run(self, options: Namespace, origin: Origin) -> int:
        code = super().run(options, origin)
        if options.detach and code == EXIT_HOLDS:
            say(f"{options.name} is up, in the background; end it with: down {options.name}")
        return code


class Serve(Body):
    """Stay up until a signal ends it."""

    def __init__(self, *, detached: bool) -> None:
        self.detached = detached

    def __call__(self, testbed: Testbed) -> int:  # noqa: ARG002 - it serves by being there
        if self.detached:
            from testbed import detaching

            detaching.silence()
        else:
            say("up; end it with Ctrl-C", flush=True)
        while True:  # not signal.pause(), which sleeps on when the signal came an instant before it
            time.sleep(POLL_SECONDS)
