"""The present primary, asked of the daemons that know it, because it moves."""

from __future__ import annotations

from services import haproxy
from services.mariadb import mariadb
from testbed.core import TestbedCore
from topo.errors import RefusedError
from topo.plan import BALANCER, DATABASE


def primary(testbed: TestbedCore) -> str:
    """The server that takes writes. Raises RefusedError when there is none, or more than one."""
    if testbed.profile.cluster:
        if named := haproxy.writer(testbed.inside(testbed.plan.host_of(BALANCER).name)):
            return named
        raise RefusedError("the balancer has no server of the cluster that takes writes")
    if not testbed.profile.managed:
        return testbed.plan.primary.name
    asked = [host.name for host in testbed.plan.hosts_of(DATABASE)]
    writers = [name for name in asked if _is_writable(testbed, name)]
    if len(writers) != 1:
        raise RefusedError(f"{', '.join(writers) or 'no server'} takes writes; there must be one primary")
    return writers[0]


def replicas(testbed: TestbedCore) -> list[str]:
    """The database servers other than the primary."""
    first = primary(testbed)
    return [host.name for host in testbed.plan.hosts_of(DATABASE) if host.name != first]


def _is_writable(testbed: TestbedCore, name: str) -> bool:
    try:
        return mariadb.is_writable(testbed.inside(name))
    except Exception:  # a database that cannot be asked takes no writes, whatever the reason
        return False
