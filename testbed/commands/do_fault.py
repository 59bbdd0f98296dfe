"""``fault``: break something on purpose; it stays broken until it is healed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import ChangeRequest, Command, Origin, Request
from topo.errors import EXIT_HOLDS, UsageError
from topo.plaintext import say

if TYPE_CHECKING:
    from testbed.testbed import Testbed

LIST = "list"


def _inject(testbed: Testbed, kind: str, target: str, what: str) -> dict[str, Any]:
    from testbed.faults import injection

    return injection.by_hand(testbed, kind, target, what)


def _possible(testbed: Testbed) -> list[str]:
    """Every fault that there is, as it is typed."""
    from testbed.faults import injection

    services = [unit.service for unit in testbed.supervisor.units]
    return [str(fault) for fault in injection.possible(testbed.plan, services)]


class FaultCommand(Command):
    """Injects a fault by hand."""

    name = "fault"
    words = "KIND TARGET [WHAT]"
    summary = "break something: fault kill srv1 web; fault list shows what is broken"
    about = "Break something in a running testbed; it stays broken until: heal."
    group = "faults"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {
            "fault": ChangeRequest(_inject),
            "faults": lambda testbed: testbed.active_faults.status(),
            "possible faults": _possible,
        }

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("kind", help="list: what is broken now; kinds: the README, or a wrong one here")
        about = "a host or switch, or a selector: primary, a role, one of ROLE; then its service, or the other end"
        parser.add_argument("rest", nargs="*", metavar="TARGET [WHAT]", help=about)

    def run(self, options: Namespace, origin: Origin) -> int:
        from testbed.faults import selection

        where, what, *more = (*selection.words(options.rest), "", "")
        if any(more):
            raise UsageError(f"unrecognized arguments: {' '.join(more).strip()} (see --help)")
        target = origin.target(options.name)
        if options.kind == LIST:
            rows = target.ask("faults")
        else:
            rows = [target.ask("fault", kind=options.kind, target=where, what=what)]
        from testbed import render

        for row in rows:
            say(render.fault(row))
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        target = origin.target_if_any(None)
        if target:
            faults = [fault.split() for fault in target.ask("possible faults")]
        else:
            from testbed.faults import registry

            faults = [[kind] for kind in registry.KINDS]
        after = len(before)
        return dict.fromkeys(words[after] for words in [*faults, [LIST]] if words[:after] == list(before) != words)
