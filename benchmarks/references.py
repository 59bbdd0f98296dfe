"""The references' networks: two hosts with a Linux bridge between them, or Open vSwitch as Mininet sets it up."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.reference_host import cable, reference_hosts, settle, within
from services.openvswitch import OvsdbServer, Vswitchd
from services.supervisor import Supervisor
from testbed.namespaces import Inside
from topo.plan import BALANCER, MONITOR, NETWORK, WEB, Plan, plan
from topo.profile import SEED

ASKS, ANSWERS, MIDDLE = (plan(SEED).hosts_of(role)[0].name for role in (BALANCER, WEB, MONITOR))
Ends = tuple[Inside, Inside]


def bridge(undo: ExitStack, plan: Plan, home: Path) -> Ends:
    """Host - veth pair - Linux bridge - veth pair - host: no firewall, all offloads on."""
    asks, answers, middle = reference_hosts(undo, plan, home, ASKS, ANSWERS, MIDDLE)
    within(middle, "ip", "link", "add", "middle", "type", "bridge")
    within(middle, "ip", "link", "set", "middle", "up")
    for number, end in enumerate((asks, answers)):
        cable(end, plan.host(end.name).interface, middle, f"port{number}")
        within(middle, "ip", "link", "set", f"port{number}", "master", "middle")
        settle(end, plan.host(end.name), NETWORK.prefixlen)
    return asks, answers


def mininet(undo: ExitStack, plan: Plan, home: Path) -> Ends:
    """Two switches as Mininet makes them with ``--switch ovs,datapath=user``: netdev bridges that learn, a veth pair
    for each link, no segmentation offload; and at the hosts ``tx off``, without which TCP hangs there.

    Open vSwitch runs a second time for this, on a reference host of its own: the offload is the whole daemon's setting.
    """
    asks, answers, middle = reference_hosts(undo, plan, home, ASKS, ANSWERS, MIDDLE)
    supervisor = Supervisor()
    undo.callback(supervisor.stop_all)
    _start_openvswitch(supervisor, middle)
    for number, end in enumerate((asks, answers)):
        switch = f"s{number}"
        within(middle, "ovs-vsctl", "add-br", switch, "--", "set", "bridge", switch, "datapath_type=netdev")
        cable(end, plan.host(end.name).interface, middle, f"{switch}-host")
        within(end, "ethtool", "-K", plan.host(end.name).interface, "tx", "off")
        within(middle, "ovs-vsctl", "add-port", switch, f"{switch}-host")
        settle(end, plan.host(end.name), NETWORK.prefixlen)
    cable(middle, "s0-link", middle, "s1-link")
    for switch in ("s0", "s1"):
        within(middle, "ovs-vsctl", "add-port", switch, f"{switch}-link")
    return asks, answers


def _start_openvswitch(supervisor: Supervisor, place: Inside) -> None:
    services = (OvsdbServer(place.name), Vswitchd(place.name))
    for service in services:
        supervisor.add(service, place)
    supervisor.configure(services)
    supervisor.launch(services[0].id)
    within(place, "ovs-vsctl", "--no-wait", "init")
    supervisor.launch(services[1].id)
