"""``flows``: the flow tables of the switches, with the rule that each flow comes from."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def _dumped(testbed: Testbed, switches: list[str]) -> dict[str, str]:
    """The flows as ovs-ofctl prints them, of each of these switches, or of all."""
    from controllers.ovs import ofctl

    names = [testbed.plan.switch(name).name for name in switches]
    return {name: ofctl.dump_flows(name) for name in names or [switch.name for switch in testbed.plan.switches]}


class FlowsCommand(Command):
    """Shows what the switches really hold."""

    name = "flows"
    words = "[SWITCH...]"
    summary = "the switches' flow tables, each flow with the rule it comes from"
    about = "Show the flow tables of switches, each flow with the rule it comes from and the packets it has matched."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"flows": _dumped}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("switch", nargs="*", help="only these (all)")

    def run(self, options: Namespace, origin: Origin) -> int:
        target = origin.target(options.name)
        dumps = target.ask("flows", switches=options.switch)
        from controllers.policyfile import parse
        from testbed import render
        from topo.plan import plan

        rules = parse(target.ask("rules")["text"], target.name, plan(target.profile))
        for switch, dump in dumps.items():
            render.console.print(render.flows(switch, dump, rules))
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        return [switch.name for switch in origin.plan().switches if switch.name not in before]
