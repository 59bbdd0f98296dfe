"""``heal``: mend what ``fault`` broke."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence

from testbed.commandline import Parser
from testbed.commands.command import ChangeRequest, Command, Origin, Request
from topo.errors import EXIT_HOLDS, UsageError
from topo.plaintext import say

ALL = "all"


class HealCommand(Command):
    """Heals one fault, or all that were injected by hand, here or from another terminal."""

    name = "heal"
    words = "[NUMBER | all]"
    summary = "mend what fault broke"
    about = "Mend what `fault` broke; returns when it is back and ready."
    group = "faults"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"heal": ChangeRequest(lambda testbed, number: testbed.active_faults.heal(number))}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("number", nargs="?", default=ALL, help="which fault, as `fault list` numbers them (all)")

    def run(self, options: Namespace, origin: Origin) -> int:
        if options.number != ALL and not options.number.isdecimal():
            raise UsageError(f"heal {options.number}: a fault's number, or all")
        number = None if options.number == ALL else int(options.number)
        for fault in origin.target(options.name).ask("heal", number=number):
            say(f"healed: {fault}")
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        target = None if before else origin.target_if_any(None)
        rows = target.ask("faults") if target else []
        return () if before else [*(str(row["number"]) for row in rows if row["by_hand"]), ALL]
