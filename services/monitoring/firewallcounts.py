"""The firewalls as the controller sees them, asked on the monitoring host: packets by rule, denied samples, fences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from controllers import denied, northbound
from services.monitoring.logfollower import LogFollower
from services.monitoring.metric import COUNTER, GAUGE, Metric, Rising, counters, value
from topo.errors import FoobarError

#: for each of two questions; a controller that takes longer is down for those who wait for it
ANSWER_S = 0.15
OTHER, SPOOFED = "other", "spoofed"


class FirewallCounts:
    """``hosts``: names that a source may have; whoever else is denied is "other", so that strangers make no series."""

    def __init__(
        self, hosts: Collection[str], events: str = str(denied.EVENTS), socket: str = str(northbound.SOCKET)
    ) -> None:
        self._hosts = frozenset(hosts)
        self._events = LogFollower(events)
        self._socket = Path(socket)
        self._rising = Rising[tuple[str, str]]()
        self._denied: Counter[tuple[str, ...]] = Counter()
        self._spoofed: Counter[tuple[str, ...]] = Counter()

    def metrics(self) -> Iterator[Metric]:
        self._take()
        yield counters("firewall_denied_total", ("switch", "rule", "src"), self._denied)
        yield counters("firewall_spoofed_total", ("switch", "in_port"), self._spoofed)
        try:
            told = self._ask("overlays")["overlays"]
        except FoobarError:
            yield value("firewall_controller_up", 0)
            return
        yield value("firewall_controller_up", 1)
        yield self._fences(told)
        yield self._packets()

    def _ask(self, request: str) -> Any:
        return northbound.ask(request, socket=self._socket, seconds=ANSWER_S)

    def _packets(self) -> Metric:
        """None for the moment in which the policy is being replaced."""
        metric = Metric("firewall_packets_total", COUNTER, ("switch", "rule", "action"))
        try:
            told = self._ask("counters")
        except FoobarError:
            return metric
        for switch, rules in told["switches"].items():
            for rule, packets in rules.items():
                metric.add(self._rising((switch, rule), packets), switch, rule, told["actions"][rule])
        return metric

    def _fences(self, overlays: list[dict[str, Any]]) -> Metric:
        metric = Metric("firewall_fence", GAUGE, ("target",))
        for overlay in overlays:
            kind, *words = overlay["name"].split()
            if kind == "fence":
                metric.add(1, *words)
        return metric

    def _take(self) -> None:
        """Count the samples of denied packets that have come."""
        for line in self._events.all_lines():
            self._count(line)

    def _count(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            switch, rule = str(row["switch"]), str(row["rule"] or "")
            src, in_port = row["src"], str(row["in_port"])
        except (ValueError, TypeError, KeyError):
            return
        if rule == SPOOFED:  # its source is a lie
            self._spoofed[switch, in_port] += 1
            src = ""
        self._denied[switch, rule, src if src in self._hosts else OTHER] += 1
