"""The sentinel on the monitoring host: finds attacks in what reaches that host anyway, and blocks their sources.

Its event log, /var/log/detection.log, has one JSON object a line:

    {"time": unix s, "event": "detection", "kind": "scan", "source": "attacker", "evidence": ["tcp/22 of srv1", ...],
     "odds": 4.1e7, "since": unix s, "seen": unix s, "found": unix s, "block": unix s}

``since`` is the time of the first evidence, ``seen`` of the last, ``found`` of the verdict (where it led to a block);
``block`` is the block's end, null where nobody was blocked, with a ``why``: the controller refuses
(controllers/blocks.py), which is tried again, or has never to be asked.
``odds`` is null of a flood, which is counted and not weighed. The other event is ``started``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from controllers.overlay import strangers
from services.monitoring.detectionstatus import ASK
from services.service import Command, File, Look, Service, accepts
from topo import users
from topo.paths import PROJECT
from topo.plan import LOGS, Plan

CONFIG = "/run/detection/config.json"
LOG = "/var/log/detection.log"


class Sentinel(Service):
    """It comes back when it dies, and begins with what happens then: blocks stand without it, at the controller."""

    role = users.DETECTION
    aliases = ("ids",)
    restarts = True

    def __init__(self, host: str, plan: Plan) -> None:
        super().__init__(host)
        self.plan = plan

    @property
    def output(self) -> str:
        return "/var/log/detection-process.log"

    @property
    def logs(self) -> tuple[str, ...]:
        return (self.output, LOG)

    @property
    def reads(self) -> tuple[str, ...]:
        """The log store, and samples of denied packets."""
        return (LOGS, users.CONTROLLER)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(PROJECT), "MALLOC_ARENA_MAX": "1"}

    def files(self) -> tuple[File, ...]:
        config = {
            "profile": self.plan.profile.as_dict(),
            "visitors": [host.name for host in strangers(self.plan)],
            "log": LOG,
        }
        return (File(CONFIG, json.dumps(config, indent=1)),)

    def checks(self) -> tuple[Command, ...]:
        return ((sys.executable, "-c", f"import json, services.detection.watch; json.load(open('{CONFIG}'))"),)

    def command(self) -> Command:
        return (sys.executable, "-m", "services.detection", CONFIG)

    def ready(self, look: Look) -> str | None:
        """It watches before it listens."""
        return accepts(look.path(ASK))
