"""``logs``: the last lines of what the services on a host have written."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS, UsageError
from topo.plaintext import say

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def _tails(testbed: Testbed, host: str, service: str) -> list[dict[str, Any]]:
    """The services of a host, or one of them, each with its logs' last lines."""
    units = [unit for unit in testbed.supervisor.units if unit.service.host == host]
    if service:
        units = [unit for unit in units if unit.service.is_called(service)]
    if not units:
        ids = ", ".join(unit.service.id.replace("/", " ") for unit in testbed.supervisor.units)
        raise UsageError(f"logs {host} {service}".strip() + f": nothing like that runs; services: {ids}")
    return [{"service": unit.service.id, "tail": unit.tail()} for unit in units]


class LogsCommand(Command):
    """Shows logs without entering a host."""

    name = "logs"
    words = "HOST [SERVICE]"
    summary = "the last lines of what the services on a host have written"
    about = "Show the last lines of what the services on a host have written."

    @property
    def requests(self) -> Mapping[str, Request]:
        return {
            "logs": _tails,
            "services": lambda testbed: [unit.service.id for unit in testbed.supervisor.units],
        }

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("host", help="a host, or `box`")
        parser.add_argument("service", nargs="?", default="", help="only this one (all of the host)")

    def run(self, options: Namespace, origin: Origin) -> int:
        target = origin.target(options.name)
        for row in target.ask("logs", host=options.host, service=options.service):
            say(row["tail"] or f"{row['service']}: nothing written yet")
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:
        target = origin.target_if_any(None)
        ids = [service.split("/") for service in target.ask("services")] if target else []
        if not before:
            return dict.fromkeys(host for host, _ in ids)
        return [name for host, name in ids if [host] == list(before)]
