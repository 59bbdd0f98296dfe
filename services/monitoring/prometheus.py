"""Prometheus on the monitoring host: keeps the metrics that the clients push, and judges the alert rules."""

from __future__ import annotations

import json
from collections.abc import Mapping

from services.monitoring import rules
from services.secrets import Secrets
from services.service import Command, File, Look, Service, listens
from topo.plan import METRICS, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG, WEB_CONFIG = "/run/prometheus/prometheus.yml", "/run/prometheus/web.yml"
# what holds from its start on; the alerts, checked with it; and their place once the boot has ended
FACTS, ALERTS, JUDGED = "/run/prometheus/facts.yml", "/run/prometheus/alerts.yml", "/run/prometheus/judged.yml"
CERTIFICATE, AUTHORITY = "/run/prometheus/monitor.pem", "/run/prometheus/ca.pem"
DATA = "/var/lib/prometheus"
EVALUATION = "500ms"

#: how long a sample is kept, and how old a new one may be
KEPT = "1d"


class Prometheus(Service):
    """It scrapes nothing: after each start its first scrape would come 5 s late. What is pushed is there at once.

    Killed, it has all that it had confirmed (its write-ahead log).
    """

    role = METRICS
    product = "prometheus"
    watches = True

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.mutual = means(profile).mutual
        self.secrets = secrets

    @property
    def environment(self) -> Mapping[str, str]:
        # one processor's worth, and memory given back early: all hosts share one machine
        return {"GOMAXPROCS": "1", "GOGC": "50"}

    def files(self) -> tuple[File, ...]:
        proof = self.secrets.proof(self.secrets.monitor, CERTIFICATE, AUTHORITY) if self.mutual else ()
        config = {
            "global": {"evaluation_interval": EVALUATION, "scrape_interval": "1s", "scrape_timeout": "500ms"},
            "rule_files": [FACTS, JUDGED.replace(".yml", "*.yml")],  # a pattern may match nothing
            # pushed again after an outage, samples may come in another order than they were taken. One that is too old
            # is refused with a 500 (2.42), so its monitoring client would offer it for ever, and none after it
            "storage": {"tsdb": {"out_of_order_time_window": KEPT}},
        }
        return (
            File(CONFIG, json.dumps(config, indent=1)),
            File(FACTS, rules.facts_file(self.plan)),
            File(ALERTS, rules.alerts_file(self.plan)),
            File(WEB_CONFIG, json.dumps(self._encryption(), indent=1)),
            *proof,
        )

    def _encryption(self) -> dict[str, object]:
        if not self.mutual:
            return {}
        return {
            "tls_server_config": {
                "cert_file": CERTIFICATE,
                "key_file": f"{CERTIFICATE}.key",
                "client_ca_file": AUTHORITY,
                "client_auth_type": "RequireAndVerifyClientCert",
                "min_version": "TLS13",
            }
        }

    def directories(self) -> tuple[str, ...]:
        return (DATA,)

    def checks(self) -> tuple[Command, ...]:
        return (
            ("promtool", "check", "config", CONFIG),
            ("promtool", "check", "rules", ALERTS),
            ("promtool", "check", "web-config", WEB_CONFIG),
        )

    def command(self) -> Command:
        return (
            "prometheus",
            f"--config.file={CONFIG}",
            f"--web.config.file={WEB_CONFIG}",
            f"--web.listen-address=0.0.0.0:{self.plan.port(METRICS)}",
            "--web.enable-remote-write-receiver",
            f"--storage.tsdb.path={DATA}",
            f"--storage.tsdb.retention.time={KEPT}",
            # who pushes no more is not there, and not as it was for five minutes
            "--query.lookback-delta=3s",
            "--log.format=json",
        )

    def ready(self, look: Look) -> str | None:
        return listens(look, self.plan.port(METRICS))
