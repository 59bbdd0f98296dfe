"""Prometheus' rule files: what is expected of whom, and has been seen when; and the alerts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from services.monitoring import exporter
from services.monitoring.alert import BEYOND_S, OLDEST_S, SILENT
from services.monitoring.alerts import alerts
from topo.plan import BALANCER, MONITOR, Plan

#: how often the silence of hosts is judged; everything else as often as Prometheus' configuration says
SILENCE_INTERVAL = "200ms"
#: a value goes on in its own rule; after such a gap in judging it is forgotten
MEMORY = "3s"
#: how old the youngest sample was when it came, in a while; never more than that
LAG_WINDOW, LONGEST_LAG_S = "20s", OLDEST_S - BEYOND_S
Rule = dict[str, Any]


def expected(plan: Plan) -> list[tuple[str, str]]:
    """Every source that must be there, with its host."""
    return [
        (host.name, source)
        for host in plan.watched
        for source in (*exporter.sources(host, plan), *((BALANCER,) if BALANCER in host.roles else ()))
    ]


def facts_file(plan: Plan) -> str:
    """The facts that alerts and people ask for: true of every testbed from its first moment."""
    return _file({"expected": ("2s", [*_expected(plan), *_ports(plan)]), "seen": (SILENCE_INTERVAL, list(_seen(plan)))})


def alerts_file(plan: Plan) -> str:
    """All alerts. Silence is judged more often: it has no sample that could come sooner."""
    rules = {alert.name: alert.rules for alert in alerts(plan)}
    silence = rules.pop("HostSilent")
    return _file({"silence": (SILENCE_INTERVAL, silence), "alerts": (None, [*chain.from_iterable(rules.values())])})


def _file(groups: dict[str, tuple[str | None, list[Rule]]]) -> str:
    written = [
        {"name": name, **({"interval": interval} if interval else {}), "rules": rules}
        for name, (interval, rules) in groups.items()
    ]
    return json.dumps({"groups": written}, indent=1)


def _record(name: str, expr: str, **labels: str) -> Rule:
    return {"record": name, "expr": expr, "labels": labels}


def _expected(plan: Plan) -> Iterator[Rule]:
    for host, source in expected(plan):
        yield _record("monitoring_expected", "vector(1)", host=host, job=source)


def _ports(plan: Plan) -> Iterator[Rule]:
    """The host behind each port of a switch: a packet under a false address says of its sender only that port."""
    for switch in plan.switches:
        for end, far in plan.links_of(switch.name):
            if not plan.is_switch(far.node):
                labels = {"switch": switch.name, "in_port": str(end.port), "behind": far.node}
                yield _record("monitoring_port", "vector(1)", **labels)


def _seen(plan: Plan) -> Iterator[Rule]:
    """The time of each host's newest sample, also when that is long ago; and since when is judged without a gap."""
    yield _record("monitoring_seen", f"max by (host) (timestamp(up)) or max_over_time(monitoring_seen[{MEMORY}])")
    yield _record("monitoring_age", "time() - monitoring_seen")
    # of one that is silent for longer than that it is not known any more
    yield _record("monitoring_lag", f"clamp_max(min_over_time(monitoring_age[{LAG_WINDOW}]), {LONGEST_LAG_S:.1f})")
    yield _record("monitoring_silent", SILENT)
    # how late the soonest of the others is: if even that is late, none of them is silent alone
    others = f'monitoring_age{{host!="{plan.host_of(MONITOR).name}"}}'
    yield _record("monitoring_late", f"min({others} - on(host) monitoring_lag)")
    yield _record("monitoring_began", f"max_over_time(monitoring_began[{MEMORY}]) or vector(time())")
