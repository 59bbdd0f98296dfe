"""``unblock``: a block ends before its time, and what the host sends is judged by the policy again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence

from testbed.commandline import Parser
from testbed.commands.command import ChangeRequest, Command, Origin, Request
from topo.errors import EXIT_HOLDS
from topo.plaintext import say


class UnblockCommand(Command):
    """Ends a block; the controller forgets that it has been."""

    name = "unblock"
    words = "HOST"
    summary = "what a blocked host sends goes on again"
    about = "End a block before its time: what the host sends is judged by the policy again."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"unblock": ChangeRequest(lambda testbed, host: testbed.overlays.unblock(host))}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("host", help="a host that is blocked")

    def run(self, options: Namespace, origin: Origin) -> int:
        origin.target(options.name).ask("unblock", host=options.host)
        say(f"{options.host} is blocked no longer")
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        target = None if before else origin.target_if_any(None)
        return [row["host"] for row in target.ask("blocks")] if target else ()
