"""``switchover``: a planned change of the server that takes the database's writes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence

from testbed.commandline import Parser
from testbed.commands.command import ChangeRequest, Command, Origin, Request
from topo.errors import EXIT_HOLDS
from topo.plaintext import say


class SwitchoverCommand(Command):
    """Asks the failover manager for another primary."""

    name = "switchover"
    words = "HOST"
    summary = "another server takes the database's writes, planned (--db async, semisync)"
    about = "Let another server take the database's writes, without losing or refusing any."
    group = "databases"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"switchover": ChangeRequest(lambda testbed, host: testbed.switch_over(host))}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("host", help="a replica")

    def run(self, options: Namespace, origin: Origin) -> int:
        answer = origin.target(options.name).ask("switchover", host=options.host)
        held = f"they waited for {answer['held_ms']:g} ms"
        say(f"{answer['primary']} takes the writes instead of {answer['before']}; {held}")
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        from topo.plan import DATABASE

        return () if before else [host.name for host in origin.plan().hosts_of(DATABASE)]
