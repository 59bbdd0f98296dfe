"""Packets per rule and switch, and per source: asked for a few times a second, or more seldom if that is dear."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from controllers import sourcecounters
from controllers.desired import Desired
from controllers.ovs import flowcounters
from controllers.ovs.flowcounters import FlowCount
from topo.errors import RefusedError

#: of all time, at most this share of a processor is spent on it: a testbed of 30 servers has 6,000 flows
SHARE = 0.02
#: what was counted is given again to those that ask sooner
FRESH_S = 0.15


class PolicyCounters:
    """``changes``: something that differs when a change of the switches has begun or ended since."""

    def __init__(
        self,
        desired: Desired,
        changes: Callable[[], object],
        open_socket: Callable[..., Any] = socket.socket,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._desired = desired
        self._changes = changes
        self._open_socket = open_socket
        self._clock = clock
        self._cpu = cpu
        self._again_at = 0.0
        self._last: dict[str, Any] = {}

    def ask(self) -> dict[str, Any]:
        """{"switches": {switch: {rule: packets}}, "actions": {rule: "allow" or "deny"}, "sources": {host: {...}}}.

        Of a source: sourcecounters.py. A switch that does not answer is left out. Raises RefusedError while cookies
        may be those of another policy.
        """
        began = self._clock()
        if began >= self._again_at:
            spent, before, rules = self._cpu(), self._changes(), self._desired.counted
            flows = {name: counts for name in self._desired.switches.values() if (counts := self._flows(name))}
            if self._changes() != before:
                raise RefusedError("the policy is being replaced")
            self._again_at = began + max(FRESH_S, (self._cpu() - spent) / SHARE)
            self._last = {
                "switches": {switch: _by_rule(counts, rules) for switch, counts in flows.items()},
                "actions": dict(rules.values()),
                "sources": sourcecounters.by_source(self._desired.plan, rules, flows),
            }
        return self._last

    def _flows(self, switch: str) -> list[FlowCount]:
        try:
            return flowcounters.flow_counts(switch, self._open_socket)
        except RefusedError:
            return []


def _by_rule(flows: list[FlowCount], rules: Mapping[int, tuple[str, str]]) -> dict[str, int]:
    by_rule: Counter[str] = Counter()
    for flow in flows:
        if flow.cookie in rules:
            by_rule[rules[flow.cookie][0]] += flow.packets
    return dict(by_rule)
