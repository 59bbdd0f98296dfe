"""``denied``: what the firewalls have denied, as samples."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Mapping

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS
from topo.plaintext import say

FOLLOW_SECONDS = 0.25


class DeniedCommand(Command):
    """Shows the events of denied packets, once or for as long as it is watched."""

    name = "denied"
    words = "[--follow]"
    summary = "what the firewalls have denied: samples, with rule, source and destination"
    about = "Show packets that the firewalls denied: samples at a bounded rate (docs/policy.md)."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"denied": lambda testbed, after: testbed.denied(after)}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--follow", action="store_true", help="go on with new ones until Ctrl-C")
        parser.add_argument("--json", action="store_true", help="as JSON, one object a line")

    def run(self, options: Namespace, origin: Origin) -> int:
        target = origin.target(options.name)
        from testbed import render

        after = 0.0
        while True:
            for event in target.ask("denied", after=after):
                after = event["time"]
                say(json.dumps(event) if options.json else render.denied(event), flush=True)
            if not options.follow:
                return EXIT_HOLDS
            time.sleep(FOLLOW_SECONDS)
