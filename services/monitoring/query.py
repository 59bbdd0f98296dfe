"""Asking Prometheus, from the box: what it knows now, what it knew, and which alerts are firing."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlencode

from services import mutualtls
from services.monitoring import vmagent
from services.service import Look
from topo.errors import RefusedError
from topo.plan import METRICS, MONITOR, Plan
from topo.tls import means

SECONDS = 1.0
Labels = dict[str, str]
#: (Unix time, value), in order
Samples = list[tuple[float, float]]


def ask(look: Look, plan: Plan, endpoint: str, seconds: float = SECONDS, **words: object) -> Any:
    """The ``data`` of Prometheus' answer; ``look``: into the monitoring host. Raises RefusedError, with one line."""
    tool = plan.host_of(MONITOR)
    if not plan.profile.monitored:
        raise RefusedError("--monitoring off: nothing is monitored; boot with --monitoring on")
    try:
        answer = json.loads(_get(look, plan, f"/api/v1/{endpoint}?{urlencode(words)}", seconds))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RefusedError(f"{tool.name}'s Prometheus does not answer: {error}; try: status") from None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        why = answer.get("error") if isinstance(answer, dict) else None
        raise RefusedError(f"{tool.name}'s Prometheus refuses {endpoint}: {why or 'no reason given'}")
    return answer["data"]


def _get(look: Look, plan: Plan, path: str, seconds: float) -> bytes:
    tool = plan.host_of(MONITOR)
    connection = http.client.HTTPConnection(tool.name)
    plain = look.connect(plan.port(METRICS), tool.ip, seconds)
    try:
        plain.settimeout(seconds)
        connection.sock = _encrypted(look, plain, tool.name) if means(plan.profile).mutual else plain
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        plain.close()
        connection.close()


def _encrypted(look: Look, plain: Any, name: str) -> ssl.SSLSocket:
    """As the monitoring host's own client does it."""
    context = mutualtls.caller(look.path(vmagent.AUTHORITY), look.path(vmagent.PROOF))
    return context.wrap_socket(plain, server_hostname=name)


def now(look: Look, plan: Plan, query: str, seconds: float = SECONDS) -> list[tuple[Labels, float]]:
    """The present value of each series that a query finds."""
    found = ask(look, plan, "query", seconds, query=query)["result"]
    return [(row["metric"], float(row["value"][1])) for row in found]


def history(look: Look, plan: Plan, selector: str, began: float, ended: float) -> list[tuple[Labels, Samples]]:
    """The samples of each series as they were taken, after ``began`` and not after ``ended`` (Unix times)."""
    words = {"query": f"{selector}[{max(1, round((ended - began) * 1000))}ms]", "time": f"{ended:.3f}"}
    found = ask(look, plan, "query", 10.0, **words)["result"]
    return [(row["metric"], [(float(at), float(value)) for at, value in row["values"]]) for row in found]


def firing(look: Look, plan: Plan) -> list[dict[str, Any]]:
    """The alerts that are firing: their labels, annotations and ``activeAt``."""
    return [alert for alert in ask(look, plan, "alerts")["alerts"] if alert["state"] == "firing"]
