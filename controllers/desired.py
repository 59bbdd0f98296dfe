"""The desired state of the switches: the policy's flows from the controller's file, and the overlays put since.

Overlays are kept in a file, so that a controller that is started again still desires them, until their time is over.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from controllers import overlay as overlays
from controllers.compile import OWN_COOKIES, cookie_name, overlay_flows, rule_cookie
from controllers.flow import Flow, of_switch
from controllers.overlay import Overlay
from controllers.policy import Rule
from topo.plan import Plan, plan
from topo.profile import Profile

#: a flow as Flow.as_dict() writes it
FlowDict = dict[str, Any]
#: some flows of some switches, by dpid
Flows = dict[str, list[FlowDict]]


class Desired:
    """``given``: controller_file's text; ``kept``: where the overlays in force are remembered."""

    def __init__(self, given: Path, kept: Path) -> None:
        self._given, self._kept = given, kept
        self.rules: dict[int, str | None] = {}
        #: rule and action of each cookie whose packets are counted
        self.counted: dict[int, tuple[str, str]] = {}
        self.policy: Flows = {}
        self.read()
        self._overlays = {overlay.name: overlay for overlay in overlays.kept(kept)}
        for overlay in self.over(time.time()):
            self.lift(overlay)

    def read(self) -> None:
        """Take the policy from its file, which may be another one than before."""
        content = json.loads(self._given.read_text())
        self.plan = plan(Profile(**content["profile"]))
        self.switches = {str(switch.dpid): switch.name for switch in self.plan.switches}
        self.hosts = {host.ip: host.name for host in self.plan.hosts}
        self.policy = content["flows"]
        self.rules = {int(cookie): name for cookie, name in content["rules"].items()}
        self.counted = {int(cookie): (rule, action) for cookie, (rule, action) in content["counted"].items()}

    @property
    def overlays(self) -> list[Overlay]:
        """Those that shall be in force, by name."""
        return [self._overlays[name] for name in sorted(self._overlays)]

    def flows(self, dpid: str) -> list[FlowDict]:
        """All that a switch shall hold."""
        above = [flow for overlay in self.overlays for flow in self.compiled(overlay).get(dpid, [])]
        return [*self.policy.get(dpid, []), *above]

    def compiled(self, overlay: Overlay) -> Flows:
        """An overlay's own flows. Raises PlanError for what the plan does not have."""
        return by_dpid(self.plan, overlay_flows(self.plan, overlay))

    def get(self, name: str) -> Overlay | None:
        return self._overlays.get(name)

    def put(self, overlay: Overlay) -> None:
        """From now on this overlay is desired, in place of one of the same name."""
        self._overlays[overlay.name] = overlay
        self._keep()

    def lift(self, name: str) -> None:
        """From now on this overlay is not desired."""
        if self._overlays.pop(name, None):
            self._keep()

    def over(self, now: float) -> list[str]:
        """The names of those whose time is over."""
        return [overlay.name for overlay in self.overlays if overlay.over(now)]

    def _keep(self) -> None:
        replace(self._kept, json.dumps([overlay.as_dict() for overlay in self.overlays], indent=1))


def replace(path: Path, text: str) -> None:
    """Write a file whole: its readers see the old text or the new one, never a part."""
    partial = path.with_suffix(".part")
    partial.write_text(text)
    partial.replace(path)


def controller_file(plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> str:
    """The one file that the Ryu application reads: the policy's flows by dpid, the profile that its plan is made from,
    the rule of each cookie, for its events, and with its action, for what is counted."""
    content: dict[str, Any] = {
        "profile": plan.profile.as_dict(),
        "flows": by_dpid(plan, flows),
        "rules": {str(cookie): cookie_name(cookie, rules) for cookie in _dropping(flows)},
        "counted": _counted(rules, flows),
    }
    return json.dumps(content, indent=1)


def _counted(rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> dict[str, tuple[str, str]]:
    """The policy's rules, and what else drops packets."""
    policy = {str(rule_cookie(number)): (rule.name, rule.action) for number, rule in enumerate(rules, start=1)}
    own = {str(cookie): (cookie_name(cookie, rules), "deny") for cookie in _dropping(flows)}
    return {**own, **policy}


def _dropping(flows: tuple[Flow, ...]) -> dict[int, None]:
    """The cookies of flows that drop and tell of it: the policy's, and those of blocks, which may come."""
    return dict.fromkeys([*(flow.cookie for flow in flows if flow.drops), OWN_COOKIES["block"]])


def by_dpid(plan: Plan, flows: tuple[Flow, ...]) -> Flows:
    """Flows as the application takes them, by switch; a switch that has none is left out."""
    shares = {str(switch.dpid): of_switch(flows, switch.name) for switch in plan.switches}
    return {dpid: [flow.as_dict() for flow in share] for dpid, share in shares.items() if share}
