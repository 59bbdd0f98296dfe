"""The alert rules: each a value, made for a plan. Prometheus judges them; ``promtool test rules`` proves them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from topo.plan import Plan

#: when a monitoring client has pushed nothing for so long, its host is silent
SILENT_S = 1.5


@dataclass(frozen=True)
class Alert:
    """One rule. ``expr``: PromQL that has a sample for each host with trouble; ``hint``: what to look at then.

    ``summary`` names host and value, with Prometheus' own placeholders ({{ $labels.host }}, {{ $value }}).
    ``threshold``: the value that ``expr`` compares with, for people.
    """

    name: str
    expr: str
    threshold: str
    summary: str
    hint: str
    after: str = "0s"
    labels: dict[str, str] = field(default_factory=dict)

    def as_rule(self) -> dict[str, object]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.after,
            "labels": self.labels,
            "annotations": {"summary": self.summary, "threshold": self.threshold, "hint": self.hint},
        }


def alerts(plan: Plan) -> Iterator[Alert]:
    """Every alert of a plan."""
    yield Alert(
        "HostSilent",
        'monitoring_expected{job="host"} unless on(host, job) up',
        "a sample each second",
        "{{ $labels.host }}: no news",
        "fault and link of the host; status; exec HOST -- ps",
    )


def rules_file(plan: Plan) -> str:
    """Prometheus' file: what is expected of whom, and the alerts."""
    expected = [
        {"record": "monitoring_expected", "expr": "vector(1)", "labels": {"host": host.name, "job": "host"}}
        for host in plan.watched
    ]
    groups = [
        {"name": "expected", "rules": expected},
        {"name": "alerts", "rules": [alert.as_rule() for alert in alerts(plan)]},
    ]
    return json.dumps({"groups": groups}, indent=1)
