"""vmagent on a host: asks the exporters there every second, pushes the samples, and keeps what nobody takes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from services.monitoring import exporter
from services.secrets import Secrets
from services.service import Command, File, Look, Service, listens
from topo.plan import BALANCER, METRICS, MONITOR, STATISTICS, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG = "/run/vmagent/scrape.yml"
AUTHORITY, PROOF = "/run/vmagent/ca.pem", "/run/vmagent/client.pem"
QUEUE = "/var/lib/vmagent"
PORT = 8429
INTERVAL_S = 1
#: it pushes once a second, at the moment at which it began, whatever its flush interval (as of 1.79): so it looks
#: at everything LEAD_MS before that, and at no other time; a sample would be on its way for a second else. On a busy
#: machine looking takes so long, too, and what misses the moment is a second late: an alert, though nothing is wrong
LEAD_MS = 450
START = f"""sleep "$0"; now=1$(date +%N)
export OFFSET="$(((now / 1000000 + 1000 - {LEAD_MS}) % 1000))ms"
exec "$@"
"""
#: hosts look and push one after the other, within so many seconds
SPREAD_S = 0.5
#: of HAProxy's some 200 metrics, those that somebody looks at
HAPROXY = "haproxy_(server|backend|frontend)_({})".format(
    "|".join(
        (
            "status",
            "http_(requests|responses)_total",
            "current_(queue|sessions)",
            "bytes_(in|out)_total",
            "requests_denied_total",
            "(connection_errors|check_failures|redispatch_warnings|retry_warnings)_total",
            "weight",
        )
    )
)


class Vmagent(Service):
    """The labels of all that it pushes: ``host``, and ``job``: the part of the host that was asked."""

    role = "agent"
    product = "vmagent"
    watches = True
    restarts = True  # it ends itself where there is no room for what nobody takes

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.mutual = means(profile).mutual
        self.secrets = secrets

    def files(self) -> tuple[File, ...]:
        proof = self.secrets.proof(self.secrets.watched[self.host], PROOF, AUTHORITY) if self.mutual else ()
        config = {
            "global": {"scrape_interval": f"{INTERVAL_S}s", "scrape_timeout": "500ms"},
            "scrape_configs": list(self._jobs()),
        }
        return (File(CONFIG, json.dumps(config, indent=1)), *proof)

    def _jobs(self) -> Iterator[dict[str, object]]:
        for source in exporter.sources(self.plan.host(self.host), self.plan):
            yield _job(source, exporter.PORT, f"/{source}")
        if BALANCER in self.plan.host(self.host).roles:
            kept = [{"source_labels": ["__name__"], "regex": HAPROXY, "action": "keep"}]
            port = self.plan.port(STATISTICS)
            yield {**_job(BALANCER, port, "/metrics"), "metric_relabel_configs": kept}

    def directories(self) -> tuple[str, ...]:
        return (QUEUE,)

    def checks(self) -> tuple[Command, ...]:
        return (("env", "OFFSET=0ms", *self._agent(), "-dryRun"),)

    def command(self) -> Command:
        hosts = [host.name for host in self.plan.watched]
        wait = SPREAD_S * hosts.index(self.host) / len(hosts)
        return ("sh", "-c", START, f"{wait:.2f}", *self._agent())

    def _agent(self) -> Command:
        tool, scheme = self.plan.host_of(MONITOR), "https" if self.mutual else "http"
        address = "127.0.0.1" if tool.name == self.host and not self.mutual else tool.ip
        return (
            "vmagent",
            f"-promscrape.config={CONFIG}",
            f"-remoteWrite.url={scheme}://{address}:{self.plan.port(METRICS)}/api/v1/write",
            f"-remoteWrite.label=host={self.host}",
            f"-remoteWrite.tmpDataPath={QUEUE}",
            "-remoteWrite.flushInterval=200ms",
            "-remoteWrite.queues=1",
            *((f"-remoteWrite.tlsCAFile={AUTHORITY}",) if self.mutual else ()),
            *((f"-remoteWrite.tlsCertFile={PROOF}", f"-remoteWrite.tlsKeyFile={PROOF}.key") if self.mutual else ()),
            "-memory.allowedBytes=16MiB",
            f"-httpListenAddr=127.0.0.1:{PORT}",
            "-loggerFormat=json",
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"GOMAXPROCS": "1"}

    def ready(self, look: Look) -> str | None:
        return listens(look, PORT)


def _job(name: str, port: int, path: str) -> dict[str, object]:
    target = {"targets": [f"127.0.0.1:{port}"]}
    return {
        "job_name": name,
        "metrics_path": path,
        "static_configs": [target],
        "scrape_align_interval": f"{INTERVAL_S}s",
        "scrape_offset": "%{OFFSET}",
        "disable_compression": True,  # it is on this host, and to compress takes longer than to measure
    }
