"""``events``: what the parts of the testbed that act by themselves have done, and why, in order."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS
from topo.eventlog import events_in
from topo.plaintext import say

if TYPE_CHECKING:
    from testbed.testbed import Testbed

FOLLOW_SECONDS = 0.25
MOST_EVENTS = 1000


def _logs() -> dict[str, str]:
    """The event logs (topo/eventlog.py), by the role of the service that writes each.

    An event may have a ``text``: the line for people; else its details are shown.
    """
    from services import controller
    from services.detection import sentinel
    from services.failover import manager

    return {
        controller.Controller.role: controller.BLOCKS,
        manager.Failover.role: manager.LOG,
        sentinel.Sentinel.role: sentinel.LOG,
    }


def _events(testbed: Testbed, after: Mapping[str, float]) -> list[dict[str, Any]]:
    """The events after these times, by log, in order, at most the newest thousand. ``by``: whose they are."""
    logs = _logs()
    rows = [
        {**event, "by": unit.service.role}
        for unit in testbed.supervisor.units
        if unit.service.role in logs
        for event in events_in(unit.written(logs[unit.service.role]))
        if event["time"] > after.get(unit.service.role, 0.0)
    ]
    return sorted(rows, key=lambda event: event["time"])[-MOST_EVENTS:]


def line(event: Mapping[str, Any]) -> str:
    """An event for people."""
    when, own = event["time"], ("time", "event", "by")
    clock = time.strftime("%H:%M:%S", time.localtime(when)) + f"{when % 1:.3f}"[1:]
    details = " ".join(f"{name}={json.dumps(value)}" for name, value in event.items() if name not in own)
    return f"{clock}  {event['by']} {event['event']}: {event.get('text', details)}".removesuffix(": ")


class EventsCommand(Command):
    """Shows the events, once or for as long as they are watched."""

    name = "events"
    words = "[--follow]"
    summary = "what was detected, blocked and failed over, and why"
    about = "Show what detection, blocks and the failover manager have done, and why, in order (docs/defence.md)."
    group = "monitoring"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"events": _events}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--follow", action="store_true", help="go on with new ones until Ctrl-C")
        parser.add_argument("--json", action="store_true", help="as JSON, one object a line")

    def run(self, options: Namespace, origin: Origin) -> int:
        target = origin.target(options.name)
        after: dict[str, float] = {}
        while True:
            for event in target.ask("events", after=after):
                after[event["by"]] = event["time"]
                say(json.dumps(event) if options.json else line(event), flush=True)
            if not options.follow:
                return EXIT_HOLDS
            time.sleep(FOLLOW_SECONDS)
