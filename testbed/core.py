"""The parts of a running testbed and their present state: boot, steady state, recovery and faults all act on them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from controllers.compile import compile_flows, overlay_flows, rule_cookie
from controllers.flow import Flow, of_switch
from controllers.ovs import ofctl
from controllers.policy import Rule, policy
from controllers.sampling import unsampled
from services.controller import Controller
from services.supervisor import Supervisor
from testbed.active import ActiveFaults
from testbed.disturbances import SEEN, Disturbances
from testbed.links import Links
from testbed.namespaces import Inside
from testbed.overlays import Overlays
from testbed.publication import Publication
from topo import wait
from topo.paths import BOX
from topo.plan import MONITOR, plan
from topo.profile import Profile

if TYPE_CHECKING:  # it loads mininet
    from testbed.network import Network

CONTROLLER_ID = f"{BOX}/{Controller.role}"
CONTROLLER_ADDRESS = ("127.0.0.1", 6653)

#: told (what, phase, seconds since the boot began) as things happen
Mark = Callable[[str, str, float], None]


class TestbedCore:
    """The parts of one testbed, before, while and after they run."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, profile: Profile, home: Path, mark: Mark, began: float | None) -> None:
        self.profile = profile
        self.home = home
        self.plan = plan(profile)
        self.rules = policy(self.plan)
        self.flows = compile_flows(self.plan, self.rules)
        self.mark = mark
        self.began = time.monotonic() if began is None else began
        self.disturbances = Disturbances()
        self.supervisor = Supervisor(mark, self.began, partial(self.disturbances.note, SEEN))
        self.insides: dict[str, Inside] = {BOX: Inside(BOX, None, home)}
        self.network: Network
        self.links = Links(self.plan)
        monitor = self.plan.host_of(MONITOR).name
        self.active_faults = ActiveFaults(lambda: self.publication.write())
        self.publication = Publication(
            lambda: self.insides.get(monitor), lambda: [str(row["fault"]) for row in self.active_faults.status()]
        )
        #: hosts and switches without power -> the services to start when it is back
        self.powerless: dict[str, list[str]] = {}
        self.overlays = Overlays(self.plan, self.supervisor, self.insides[BOX], self.powerless)
        #: services that were to be started again in the background -> why they were not
        self.failures: dict[str, str] = {}
        self.datapath = ""
        #: the experiment that is measured now; empty while none is
        self.measured = ""
        #: when each look began that is under way and may send packets
        self.looks: list[float] = []
        self.pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="testbed")

    def inside(self, name: str) -> Inside:
        """The inside of a host (or ``box``). Raises PlanError for a name the plan does not have."""
        if name != BOX:
            self.plan.host(name)
        return self.insides[name]

    @property
    def controller(self) -> Controller:
        service = self.supervisor.unit(CONTROLLER_ID).service
        assert isinstance(service, Controller)
        return service

    @property
    def unsampled(self) -> list[str]:
        """The switches that cannot tell of denied packets, for lack of meters."""
        return self.controller.unmetered(self.insides[BOX])

    def adopt(self, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> None:
        """From now on these are the rules, and the flows that they become (rollout.py puts them on the switches)."""
        self.rules, self.flows = rules, flows
        self.controller.rules, self.controller.flows = rules, flows

    def rule_counters(self) -> dict[str, dict[str, int]]:
        """For each switch: how many packets each rule of the policy has matched so far, by the rule's name."""
        names = {rule_cookie(number): rule.name for number, rule in enumerate(self.rules, start=1)}
        return {
            switch.name: {
                names[cookie]: packets
                for cookie, packets in ofctl.packets_by_cookie(switch.name).items()
                if cookie in names
            }
            for switch in self.plan.switches
        }

    def desired_flows(self) -> tuple[Flow, ...]:
        """All that the switches shall hold now: what the policy's rules and the overlays become."""
        above = (flow for overlay in self.overlays.standing for flow in overlay_flows(self.plan, overlay))
        return unsampled((*self.flows, *above), self.unsampled)

    def wait_for_flows(self) -> None:
        """Every switch that has power has confirmed its flows, and holds exactly the desired ones.

        While the controller is broken on purpose nothing is waited for: healing it waits. Raises DeadlineError.
        """
        unit = self.supervisor.unit(CONTROLLER_ID)
        if unit.paused or not unit.wanted:
            return
        look, without = self.insides[BOX], self.powerless
        wait.until(lambda: self.controller.installed(look, without=without), what="flows installed", seconds=10)
        self.overlays.settle()
        for name in (switch.name for switch in self.plan.switches if switch.name not in without):
            wait.until(partial(self.flow_differences, name), what=f"the flows of {name} as desired", seconds=10)

    def flow_differences(self, switch: str) -> str | None:
        """None when a switch holds exactly the desired flows, else the first differing lines."""
        with tempfile.NamedTemporaryFile("w", dir=self.home, suffix=".flows") as expected:  # several may look at once
            expected.writelines(f"{flow.text()}\n" for flow in of_switch(self.desired_flows(), switch))
            expected.flush()
            return ofctl.flow_differences(switch, Path(expected.name))
