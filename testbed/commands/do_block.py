"""``block``: all that a visitor's host sends is dropped, for a time. It ends by itself."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence

from controllers.overlay import strangers
from testbed.commandline import Parser, seconds
from testbed.commands.command import ChangeRequest, Command, Origin, Request
from topo.errors import EXIT_HOLDS
from topo.plaintext import say


class BlockCommand(Command):
    """Blocks a host by hand, as a detector does."""

    name = "block"
    words = "HOST [--for TIME]"
    summary = "drop all that a visitor's host sends, for a time"
    about = "Drop all that a host of the internet sends, at its own switch port, for a time."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"block": ChangeRequest(lambda testbed, **words: testbed.overlays.block(**words))}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("host", help="a visitor's host; the site's own are never blocked")
        parser.add_argument("--for", dest="lasting", metavar="TIME", default="60s", help="60s (default), 5m, 1h")
        parser.add_argument("--reason", metavar="TEXT", default="by hand", help="shown by `blocks` and `events`")

    def run(self, options: Namespace, origin: Origin) -> int:
        lasting = seconds("--for", options.lasting)
        origin.target(options.name).ask("block", host=options.host, lasting=lasting, reason=options.reason)
        say(f"{options.host} is blocked for {options.lasting}")
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        return () if before else [host.name for host in strangers(origin.plan())]
