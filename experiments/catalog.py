"""Every experiment, listed by hand: the place to add one."""

from __future__ import annotations

from experiments.base import Experiment
from experiments.db_failover import DbFailover
from experiments.firewall_matrix import FirewallMatrix
from experiments.firewall_mutants import FirewallMutants
from experiments.journey import Journey
from experiments.tls_exposure import TlsExposure
from experiments.tls_tampering import TlsTampering
from experiments.web_failover import WebFailover
from topo.errors import UsageError, among

EXPERIMENTS: tuple[Experiment, ...] = (
    Journey(),
    TlsExposure(),
    TlsTampering(),
    WebFailover(),
    DbFailover(),
    FirewallMatrix(),
    FirewallMutants(),
)


def experiment(name: str) -> Experiment:
    """The experiment of that name. Raises UsageError, naming the possible ones."""
    for each in EXPERIMENTS:
        if each.name == name:
            return each
    raise UsageError(f"{name}: no such experiment; experiments: {among(name, (each.name for each in EXPERIMENTS))}")
