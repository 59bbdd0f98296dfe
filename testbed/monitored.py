"""The monitoring of a running testbed: when it begins to judge, what it has no news of, and the alerts that fire."""

from __future__ import annotations

import signal
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from services.monitoring import prometheus, query, rules
from services.monitoring.alert import OLDEST_S
from services.monitoring.overview import overview
from services.service import below
from services.unit import Unit
from testbed.core import TestbedCore
from testbed.namespaces import Inside
from topo import wait
from topo.errors import FoobarError, RefusedError
from topo.plan import METRICS, MONITOR

#: within which Prometheus has read its rules again
SECONDS = 5


def begin(testbed: TestbedCore) -> None:
    """From now on alerts are judged: what is not there yet during a boot is no trouble."""
    unit = _prometheus(testbed)
    folder, name = below(unit.place, prometheus.JUDGED)
    folder.write(name, rules.alerts_file(testbed.plan), like=folder.status(Path(prometheus.FACTS).name))
    assert unit.process is not None
    unit.process.send_signal(signal.SIGHUP)
    wait.until(lambda: None if _judged(testbed) else "no alert", what="the alerts' rules loaded", seconds=SECONDS)


def _judged(testbed: TestbedCore) -> bool:
    groups = query.ask(_inside(testbed), testbed.plan, "rules", type="alert")["groups"]
    return any(group["rules"] for group in groups)


def missing(testbed: TestbedCore) -> str | None:
    """The sources from which no news has come, or that do not answer; None when all do."""
    answers = query.now(_inside(testbed), testbed.plan, "timestamp(up) and up == 1")
    now = time.time()
    known = {(labels["host"], labels["job"]) for labels, when in answers if now - when < OLDEST_S}
    without = [f"{host}'s {source}" for host, source in rules.expected(testbed.plan) if (host, source) not in known]
    return f"no news of {', '.join(without)}" if without else None


def alerts(testbed: TestbedCore) -> dict[str, Any]:
    """The firing alerts, the oldest first; ``note``: not all may be known yet, and why. Raises RefusedError."""
    place, plan = _inside(testbed), testbed.plan
    rows = sorted((_row(alert) for alert in query.firing(place, plan)), key=lambda row: str(row["since"]))
    seen = {labels["host"] for labels, _ in query.now(place, plan, "monitoring_seen")}
    unheard = [host.name for host in plan.watched if host.name not in seen]
    known = {row["host"] for row in rows if row["alert"] == "HostSilent"}
    note = f"catching up: nothing has been heard of {', '.join(unheard)} yet" if set(unheard) - known else ""
    return {"alerts": rows, "note": note}


def top(testbed: TestbedCore) -> dict[str, Any]:
    """The content of ``top``. While Prometheus does not answer there are no values, and ``problem`` says why.

    Raises RefusedError when nothing is monitored.
    """
    content: dict[str, Any] = {
        "time": time.time(),
        "hosts": [host.name for host in testbed.plan.watched],
        "faults": [str(row["fault"]) for row in testbed.active_faults.status()],
        "problem": "",
        "values": [],
        "alerts": [],
        "note": "",
    }
    try:
        return {**content, "values": overview(_inside(testbed), testbed.plan), **alerts(testbed)}
    except RefusedError as error:
        if not testbed.profile.monitored:
            raise
        return {**content, "problem": str(error)}


def status(testbed: TestbedCore) -> dict[str, Any]:
    """Its part of ``status --json``: the firing alerts; ``monitoring``: why they are not known, if they are not."""
    if not testbed.profile.monitored:
        return {"alerts": [], "monitoring": "off"}
    try:
        known = alerts(testbed)
    except FoobarError as error:
        return {"alerts": [], "monitoring": str(error)}
    return {"alerts": known["alerts"], "monitoring": known["note"]}


def _row(alert: dict[str, Any]) -> dict[str, Any]:
    labels, texts = {name: word for name, word in alert["labels"].items() if name != "instance"}, alert["annotations"]
    since = datetime.fromisoformat(alert["activeAt"][:23].rstrip("Z")).replace(tzinfo=timezone.utc)
    return {
        "alert": labels.pop("alertname"),
        "host": labels.pop("host", None),
        "value": float(alert["value"]),
        "threshold": texts["threshold"],
        "since": since.isoformat(timespec="milliseconds"),
        "summary": texts["summary"],
        "hint": texts["hint"],
        "labels": labels,
    }


def _prometheus(testbed: TestbedCore) -> Unit:
    return testbed.supervisor.unit(f"{testbed.plan.host_of(MONITOR).name}/{METRICS}")


def _inside(testbed: TestbedCore) -> Inside:
    return testbed.inside(testbed.plan.host_of(MONITOR).name)
