"""Packets per rule and switch, as the switches count them: asked for once a second, or more seldom if that is dear."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from controllers.desired import Desired
from controllers.ovs import flowcounters
from topo.errors import RefusedError

#: of all time, at most this share is spent on it: a testbed of 30 servers has 6,000 flows
SHARE = 0.02
#: what was counted is given again to those that ask sooner
FRESH_S = 0.5


class PolicyCounters:
    """``changes``: something that differs when a change of the switches has begun or ended since."""

    def __init__(
        self,
        desired: Desired,
        changes: Callable[[], object],
        open_socket: Callable[..., Any] = socket.socket,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desired = desired
        self._changes = changes
        self._open_socket = open_socket
        self._clock = clock
        self._again_at = 0.0
        self._last: dict[str, Any] = {}

    def ask(self) -> dict[str, Any]:
        """{"switches": {switch: {rule: packets}}, "actions": {rule: "allow" or "deny"}}.

        A switch that does not answer is left out. Raises RefusedError while cookies may be those of another policy.
        """
        began = self._clock()
        if began >= self._again_at:
            before, rules = self._changes(), self._desired.counted
            switches = {name: counts for name in self._desired.switches.values() if (counts := self._of(name, rules))}
            if self._changes() != before:
                raise RefusedError("the policy is being replaced")
            self._again_at = began + max(FRESH_S, (self._clock() - began) / SHARE)
            self._last = {"switches": switches, "actions": dict(rules.values())}
        return self._last

    def _of(self, switch: str, rules: dict[int, tuple[str, str]]) -> dict[str, int]:
        try:
            packets = flowcounters.packets_by_cookie(switch, self._open_socket)
        except RefusedError:
            return {}
        by_rule: Counter[str] = Counter()
        for cookie, number in packets.items():
            if cookie in rules:
                by_rule[rules[cookie][0]] += number
        return dict(by_rule)
