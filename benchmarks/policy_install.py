"""The time from an empty switch to the whole policy in force on it: packets say when."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, columns, say
from controllers.flow import of_switch
from controllers.ovs import bypass, vsctl
from experiments.instruments import flood
from testbed.body import Body
from topo.errors import EXIT_HOLDS, FoobarError
from topo.plan import BALANCER, WEB, plan
from topo.profile import SEED

if TYPE_CHECKING:
    from experiments.instruments.packetsockets import PacketSockets
    from testbed.testbed import Testbed

CONTROLLER, BY_HAND = "controller", "ovs-ofctl by hand"
PLAN = plan(SEED)
SENDER, TARGET, PORT = PLAN.host_of(BALANCER).name, PLAN.hosts_of(WEB)[0].name, PLAN.port(WEB)
# the balancer's own connections never come from these
PORTS = range(2_000, 30_000)
EVERY_S, LONGEST_S = 0.001, 10.0
#: s without an arrival before a switch without flows is believed to be shut
SHUT_S = 0.05


class PolicyInstall(Benchmark):
    """A switch loses its flows and gets them from the controller, or by hand, while a host knocks."""

    name = "policy_install"

    def measure(self, size: Size, tell: Tell) -> Report:
        return report(child.result(self.name, size, tell))

    def body(self, size: Size) -> Body:
        return Installed(size)


def report(answers: Mapping[str, Any]) -> Report:
    """Series from the body's ``rows``: for each switch a row of ms for each pair; ``flows``: how many it holds."""
    series = tuple(
        PairedSeries(
            f"{switch}, {answers['flows'][switch]} flows",
            "ms",
            columns(rows, CONTROLLER),
            columns(rows, BY_HAND),
            BY_HAND,
            Target("ours", "<=", 100),
        )
        for switch, rows in answers["rows"].items()
    )
    return Report(series, ("policy_install: from the order to find the controller to the first allowed packet",))


class Installed(Body):
    """The switch in the middle and a firewall, one after the other. A switch's flows come all at once, in a bundle."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        from experiments.instruments.packetsockets import PacketSockets

        plan = testbed.plan
        guard = next(switch.name for switch in plan.switches if switch.guards == TARGET)
        ends = {name: (testbed.inside(name), plan.host(name).interface) for name in (SENDER, TARGET)}
        rows: dict[str, list[dict[str, float]]] = {"core": [], guard: []}
        with PacketSockets(ends) as sockets:
            knock = Knock(testbed, sockets)
            for pair in range(self.size.pairs):
                say("progress", f"pair {pair + 1} of {self.size.pairs}")
                for switch, taken in rows.items():
                    order = [CONTROLLER, BY_HAND] if pair % 2 else [BY_HAND, CONTROLLER]
                    taken.append({way: _taken(testbed, knock, switch, way) for way in order})
        flows = {switch: len(of_switch(testbed.flows, switch)) for switch in rows}
        say("result", {"rows": rows, "flows": flows})
        return EXIT_HOLDS


def _taken(testbed: Testbed, knock: Knock, switch: str, way: str) -> float:
    """ms from an empty switch to the first packet that crosses it; raises FoobarError when one crosses it before."""
    from controllers import sampling
    from testbed import core

    vsctl.part_from_controller(switch)
    bypass.delete_all_flows(switch)
    if knock(SHUT_S):
        raise FoobarError(f"policy_install: {switch} has no flows, and a packet crossed it")
    flows = of_switch(testbed.flows, switch)
    if way == BY_HAND:  # they went with the controller, and one program for each is not what is measured
        for number in sampling.meters(flows).get(switch, ()):
            bypass.add_meter(switch, number)
    fill: dict[str, Callable[[], None]] = {
        CONTROLLER: lambda: vsctl.lead_to_controller(switch, core.CONTROLLER_ADDRESS),
        BY_HAND: lambda: bypass.exchange_flows(switch, (), flows),
    }
    with ThreadPoolExecutor(1) as other:
        began = time.monotonic()
        filling = other.submit(fill[way])
        crossed = knock(LONGEST_S)
        taken = (time.monotonic() - began) * 1000
        filling.result()
    if not crossed:
        raise FoobarError(f"policy_install: {switch}: no packet has crossed it for {LONGEST_S:g} s: {way}")
    if way == BY_HAND:
        vsctl.lead_to_controller(switch, core.CONTROLLER_ADDRESS)
    testbed.wait_for_flows()
    return taken


class Knock:
    """Knocks at an allowed port, each time as a new connection, for so many seconds; whether one got through."""

    def __init__(self, testbed: Testbed, sockets: PacketSockets) -> None:
        src, dst = testbed.plan.host(SENDER), testbed.plan.host(TARGET)
        macs = b"".join(bytes.fromhex(host.mac.replace(":", "")) for host in (dst, src))
        addresses = IPv4Address(src.ip).packed, IPv4Address(dst.ip).packed
        self._sockets = sockets
        self._frames = (flood.frame(macs, "tcp", *addresses, (port, PORT)) for port in itertools.cycle(PORTS))

    def __call__(self, seconds: float) -> bool:
        knocks: set[bytes] = set()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            frame = next(self._frames)
            knocks.add(frame)
            self._sockets.send(SENDER, frame)
            arrived = list(self._sockets.arrivals(EVERY_S))
            if any(host == TARGET and each in knocks for host, each in arrived):
                return True
        return False
