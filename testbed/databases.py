"""Who is the primary now: asked of those who know, because roles move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services import haproxy
from services.mariadb import mariadb
from topo.errors import RefusedError

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def primary(testbed: Testbed) -> str:
    """The server that takes writes. Raises RefusedError when there is none, or more than one."""
    if testbed.profile.cluster:
        return haproxy.writer(testbed.inside("lb")) or testbed.plan.primary.name
    if not testbed.profile.managed:
        return testbed.plan.primary.name
    asked = [host.name for host in testbed.plan.servers]
    writers = [name for name in asked if _is_writable(testbed, name)]
    if len(writers) != 1:
        raise RefusedError(f"{', '.join(writers) or 'no server'} takes writes; there must be one primary")
    return writers[0]


def replicas(testbed: Testbed) -> list[str]:
    """All the others."""
    first = primary(testbed)
    return [host.name for host in testbed.plan.servers if host.name != first]


def _is_writable(testbed: Testbed, name: str) -> bool:
    try:
        return mariadb.is_writable(testbed.inside(name))
    except Exception:  # a database that cannot be asked takes no writes, whatever the reason
        return False
