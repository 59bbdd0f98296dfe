"""The Ryu application's process: it reads one file of flows and comes back when it dies."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from controllers import denied, northbound
from controllers.desired import controller_file
from controllers.flow import Flow
from controllers.overlay import Overlay, kept
from controllers.policy import Rule
from services.service import Command, File, Look, Service, listens
from topo import users
from topo.paths import PROJECT
from topo.plan import MONITOR, Plan

DIRECTORY = "/run/foobar/controller"
FLOWS, INSTALLED, OVERLAYS = (f"{DIRECTORY}/{name}.json" for name in ("flows", "installed", "overlays"))
BLOCKS = f"{DIRECTORY}/blocks.jsonl"
PORT = 6653


def northbound_socket(plan: Plan) -> str:
    """The socket on which the controller takes requests: a file of the monitoring host, as the box sees it."""
    return _at_the_monitor(plan, northbound.SOCKET)


def denied_events(plan: Plan) -> str:
    """The log of denied packets, which the controller writes: a file of the monitoring host, as the box sees it."""
    return _at_the_monitor(plan, denied.EVENTS)


def _at_the_monitor(plan: Plan, path: object) -> str:
    return f"/run/foobar/hosts/{plan.host_of(MONITOR).name}{path}"


class Controller(Service):
    """Killing it changes nothing for traffic (fail_mode=secure); the supervisor starts it again."""

    role = users.CONTROLLER
    restarts = True

    def __init__(self, host: str, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> None:
        super().__init__(host)
        self.plan = plan
        self.rules = rules
        self.flows = flows

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(PROJECT)}

    def files(self) -> tuple[File, ...]:
        return (File(FLOWS, controller_file(self.plan, self.rules, self.flows)),)

    def directories(self) -> tuple[str, ...]:
        return (str(Path(northbound_socket(self.plan)).parent),)

    def prepare(self, look: Look) -> None:  # noqa: ARG002 - all of it is in the box
        """The services of the monitoring host that ask it, and read what was denied, can; and no others there."""
        users.share(Path(northbound_socket(self.plan)).parent, self.role)

    def command(self) -> Command:
        reached_at = (northbound_socket(self.plan), denied_events(self.plan))
        return (sys.executable, "-m", "controllers.firewall", FLOWS, INSTALLED, OVERLAYS, BLOCKS, *reached_at)

    def ready(self, look: Look) -> str | None:
        return listens(look, PORT)

    @staticmethod
    def overlays(look: Look) -> tuple[Overlay, ...]:
        """The overlays that are desired."""
        return kept(look.path(OVERLAYS))

    def installed(self, look: Look, *, without: Collection[str] = ()) -> str | None:
        """None once every switch (``without`` some) has confirmed its flows with a barrier reply."""
        confirmed = _confirmed(look)
        asked = [switch for switch in self.plan.switches if switch.name not in without]
        waiting = [switch.name for switch in asked if str(switch.dpid) not in confirmed]
        return f"no barrier reply from {', '.join(waiting)}" if waiting else None

    def unmetered(self, look: Look) -> list[str]:
        """The switches that report no meters: nothing is sampled there."""
        confirmed = _confirmed(look)
        known = [switch for switch in self.plan.switches if str(switch.dpid) in confirmed]
        return [switch.name for switch in known if not confirmed[str(switch.dpid)]["meters"]]


def _confirmed(look: Look) -> dict[str, dict[str, Any]]:
    path = look.path(INSTALLED)
    confirmed: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return confirmed
