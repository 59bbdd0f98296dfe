"""Hosts and switches switched off, as at the plug, and on again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from controllers.ovs import bypass, vsctl, vswitchd
from testbed.core import CONTROLLER_ADDRESS
from topo import wait
from topo.errors import RefusedError
from topo.wiring import Link

if TYPE_CHECKING:
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

# how often a socket without a process sends its FIN again: 0 means the kernel's default, some minutes
ORPHAN_RETRIES = "ipv4/tcp_orphan_retries"
USUAL, ONCE = 0, 1
# connections end with a reset, which would wait for the neighbour's address and go out when the link is back
FORGET = ("sh", "-c", "ss --tcp --kill state connected; ip neigh flush all")
# states in which a socket has sent its FIN and had it acknowledged: it only listens to the other side's
SILENT = {"05": "FIN_WAIT_2", "06": "TIME_WAIT"}
SECONDS = 125.0  # the kernel's longest wait before it tries again is 120 s


def host_off(testbed: Testbed, name: str) -> None:
    """Cut the link first, so that no FIN or RST leaves the host; then kill every service at once."""
    services = running(testbed, name)
    testbed.links.cut(testbed.links.between(name))
    testbed.powerless[name] = services
    testbed.inside(name).sysctl(ORPHAN_RETRIES, ONCE)
    testbed.inside(name).run(FORGET)
    testbed.supervisor.kill(*services)


def host_on(testbed: Testbed, name: str) -> None:
    """Its link, then the services that ran, as at the boot; returns when they are ready.

    The kernel still sends FIN for the connections that processes had when they were killed. A machine without
    power has forgotten them: the link comes back when the last of them is gone, which may take the kernel a minute
    where it cannot destroy connections.
    """
    inside = testbed.inside(name)
    wait.until(lambda: orphans(inside), what=f"{name}'s old connections forgotten", seconds=SECONDS)
    inside.sysctl(ORPHAN_RETRIES, USUAL)
    services = testbed.powerless.pop(name)
    testbed.links.mend(testbed.links.between(name))
    testbed.restart(*services)


def running(testbed: Testbed, host: str) -> list[str]:
    """The ids of a host's services that have a process."""
    return [unit.service.id for unit in testbed.supervisor.units if unit.service.host == host and unit.runs]


def orphans(inside: Inside) -> str | None:
    """None when no TCP socket of a host is without a process, but for those whose FIN was acknowledged."""
    tables = [Path(f"/proc/{inside.pid}/net/{name}") for name in ("tcp", "tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    rows = [line.split() for line in lines]
    left = [row[3] for row in rows if row[9] == "0" and row[3] not in SILENT]
    return f"{len(left)} sockets, in the kernel's states {', '.join(left)}" if left else None


def switch_off(testbed: Testbed, name: str) -> None:
    """Its hosts' links are dead; its controller, its flows and the connections that it tracked are forgotten."""
    testbed.powerless[name] = []
    for link in _cables(testbed, name):
        testbed.links.cut(link)
    vsctl.part_from_controller(name)
    bypass.delete_all_flows(name)
    vswitchd.forget_connections(testbed.plan.switch(name).number)
    vswitchd.forget_decisions()


def switch_on(testbed: Testbed, name: str) -> None:
    """It finds its controller and gets its flows; returns when it holds them, and its links carry again.

    Where the controller is broken too it lets nothing through until that is healed.
    """
    del testbed.powerless[name]
    vsctl.lead_to_controller(name, CONTROLLER_ADDRESS)
    try:
        testbed.wait_for_flows()
    finally:
        for link in _cables(testbed, name):
            testbed.links.mend(link)


def _cables(testbed: Testbed, switch: str) -> list[Link]:
    """Its links to hosts. Those to other switches need no cutting: without flows nothing goes in or out."""
    plan = testbed.plan
    return [testbed.links.between(switch, far.node) for _, far in plan.links_of(switch) if not plan.is_switch(far.node)]


def refuse_if_off(testbed: Testbed, name: str) -> None:
    """Raise RefusedError when a host or switch has no power: it cannot lose it again."""
    if name in testbed.powerless:
        raise RefusedError(f"{name} has no power")


def refuse_if_ended(testbed: Testbed, service: str) -> None:
    """Raise RefusedError when a service does not run: it cannot fail any more."""
    if not testbed.supervisor.unit(service).runs:
        raise RefusedError(f"{service} is not running")
