"""``alerts``: the alerts that are firing."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def _alerts(testbed: Testbed) -> dict[str, Any]:
    from testbed import monitored

    return monitored.alerts(testbed)


class AlertsCommand(Command):
    """Asks the monitoring host's Prometheus; while that does not answer nobody judges, and that is a refusal."""

    name = "alerts"
    words = "[--json]"
    summary = "the alerts that are firing: where, since when, and what to look at"
    about = "Show the alerts that are firing: host, value, threshold, since when, and what to look at."
    group = "monitoring"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"alerts": _alerts}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--json", action="store_true", help="as JSON: a list")

    def run(self, options: Namespace, origin: Origin) -> int:
        known = origin.target(options.name).ask("alerts")
        if options.json:
            print(json.dumps(known["alerts"], indent=1))
            return EXIT_HOLDS
        from testbed import render

        render.console.print(render.alerts(known["alerts"], known["note"]))
        return EXIT_HOLDS
