"""All that ``top`` shows, as one question to Prometheus: present values, none older than its look-back of 3 s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.monitoring import query
from services.service import Look
from topo.plan import Plan


def _rate(counters: str, by: str, kept: str = "") -> str:
    return f"sum by ({by}) (irate({counters}{{{kept}}}[3s]))"


def _quantile(share: float, by: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate(web_request_seconds_bucket[3s])))"


#: what each value is called in the answer -> PromQL
QUESTIONS: Mapping[str, str] = {
    # for how many seconds nothing has been heard of a host
    "age": "time() - monitoring_seen",
    "cpu": _rate("host_cpu_seconds_total", "host"),
    "memory": "sum by (host) (host_memory_pss_bytes)",
    "in": _rate("host_network_receive_bytes_total", "host", 'interface!="lo"'),
    "out": _rate("host_network_transmit_bytes_total", "host", 'interface!="lo"'),
    "answers": _rate("web_requests_total", "host, status"),
    "p50": _quantile(0.5, "host, le"),
    "p99": _quantile(0.99, "host, le"),
    "site p50": _quantile(0.5, "le"),
    "site p99": _quantile(0.99, "le"),
    "site": _rate("haproxy_frontend_http_responses_total", "code", 'proxy=~"site-.*"'),
    "balancer": 'haproxy_server_status{proxy="servers",server!~".*-anyway"} == 1',
    "sessions": 'haproxy_server_current_sessions{proxy="servers",server!~".*-anyway"}',
    "queue": 'sum(haproxy_backend_current_queue{proxy="servers"})',
    "writable": "db_writable",
    "replicating": 'min by (host) ({__name__=~"db_replication_(receiving|applying)"})',
    "lag": "db_replication_lag_seconds",
    "dropping": _rate("firewall_packets_total", "switch, rule", 'action="deny"'),
    "dropped": 'sum by (switch, rule) (firewall_packets_total{action="deny"})',
}


def overview(look: Look, plan: Plan) -> list[list[Any]]:
    """Each value as [name, labels, value]. Raises RefusedError."""
    asked = (f'label_replace({words}, "question", "{name}", "", "")' for name, words in QUESTIONS.items())
    return [[labels.pop("question"), labels, value] for labels, value in query.now(look, plan, " or ".join(asked))]
