"""Every experiment, listed by hand: the place to add one."""

from __future__ import annotations

from typing import Any

from experiments.audit.experiment import Audit
from experiments.db_failover.experiment import DbFailover
from experiments.detection.experiment import DetectionExperiment
from experiments.engine.base import Experiment
from experiments.firewall_matrix.experiment import FirewallMatrix
from experiments.firewall_mutants.experiment import FirewallMutants
from experiments.journey.experiment import Journey
from experiments.monitoring.experiment import Monitoring
from experiments.tls_exposure.experiment import TlsExposure
from experiments.tls_tampering.experiment import TlsTampering
from experiments.waf.experiment import Waf
from experiments.web_failover.experiment import WebFailover
from topo.errors import UsageError, among

EXPERIMENTS: tuple[Experiment[Any], ...] = (
    Journey(),
    TlsExposure(),
    TlsTampering(),
    WebFailover(),
    DbFailover(),
    Monitoring(),
    DetectionExperiment(),
    Waf(),
    FirewallMatrix(),
    FirewallMutants(),
    Audit(),
)


def experiment(name: str) -> Experiment[Any]:
    """The experiment of that name. Raises UsageError, naming the possible ones."""
    by_name = {experiment.name: experiment for experiment in EXPERIMENTS}
    if name in by_name:
        return by_name[name]
    raise UsageError(f"{name}: no such experiment; experiments: {among(name, by_name)}")
