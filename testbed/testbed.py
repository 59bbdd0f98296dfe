"""A testbed: everything of one www.foobar.com, booted in parallel and undone in reverse. Runs inside a box."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from controllers import denied, jsonsocket
from controllers.compile import compile_flows, fence_flows, rule_cookie
from controllers.flow import Flow, of_switch
from controllers.ovs import ofctl, receivebuffers, vsctl
from controllers.policy import Rule, policy
from controllers.sampling import unsampled
from services import deployment, secrets
from services.controller import DENIED, Controller
from services.failover import manager, powerswitch
from services.service import Gathers, Joins, Service
from services.supervisor import Supervisor, Unit, tail
from testbed import groups, steady
from testbed import network as networks
from testbed.faults.active import Breakage
from testbed.links import Links
from testbed.namespaces import Inside
from testbed.power import CONTROLLER
from testbed.rollout import Adoption
from topo import wait
from topo.errors import RefusedError, ServiceError, UsageError
from topo.paths import BOX
from topo.plan import plan
from topo.profile import Profile

CONTROLLER_ID = f"{BOX}/{Controller.name}"
DATABASE, SWITCHD = INFRASTRUCTURE = (f"{BOX}/ovsdb-server", f"{BOX}/ovs-vswitchd")
WATCH_SECONDS = 0.1
MOST_EVENTS = 1000

Mark = Callable[[str, str, float], None]


class Testbed:
    """``with Testbed(profile, home) as testbed``: booted, joined and steady; or an error, and nothing left.

    ``mark`` is told (what, phase, seconds since the boot began) as parts of the boot are done. ``broken`` is told,
    from another thread, when Open vSwitch dies: without it there is no testbed.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(
        self,
        profile: Profile,
        home: Path,
        *,
        mark: Mark = lambda *_: None,
        began: float | None = None,
        broken: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.profile = profile
        self.home = home
        self.plan = plan(profile)
        self.rules = policy(profile)
        self.flows = compile_flows(self.plan, self.rules)
        self.began = time.monotonic() if began is None else began
        self.supervisor = Supervisor(mark, self.began)
        self.insides: dict[str, Inside] = {BOX: Inside(BOX, None, home)}
        self.network: networks.Network
        self.links = Links(self.plan)
        self.breakage = Breakage()
        #: hosts and switches without power -> the services to start when it is back
        self.powerless: dict[str, list[str]] = {}
        self.datapath = ""
        self.steady = steady.Steady(())
        self._mark = mark
        self._broken = broken
        self._undo = ExitStack()
        self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="boot")

    def __enter__(self) -> Testbed:
        try:
            self._boot()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def inside(self, name: str) -> Inside:
        """The inside of a host (or ``box``). Raises PlanError for a name the plan does not have."""
        if name != BOX:
            self.plan.host(name)
        return self.insides[name]

    def status(self) -> dict[str, Any]:
        """What ``status --json`` shows: steady as at the last look, unless a service has left its state since."""
        return {
            "steady": self.steady.holds and all(unit.state == "ready" for unit in self.supervisor.units),
            "datapath": self.datapath,
            "hosts": {host.name: {"ip": host.ip, "zone": host.zone} for host in self.plan.hosts},
            "services": self.supervisor.status(),
            "fences": self.fences,
            "unsampled": self.unsampled,
            "faults": self.breakage.status(),
        }

    @property
    def fences(self) -> list[str]:
        """The hosts whose databases the controller fences."""
        return Controller.fences(self.insides[BOX])

    @property
    def unsampled(self) -> list[str]:
        """The switches that cannot tell of denied packets, for lack of meters."""
        return self._controller.unmetered(self.insides[BOX])

    def denied(self, after: float = 0.0) -> list[dict[str, Any]]:
        """The events of denied packets that were written after that time, at most the newest thousand."""
        return list(deque(denied.read(self.insides[BOX].path(DENIED), after), MOST_EVENTS))

    @property
    def _controller(self) -> Controller:
        service = self.supervisor.unit(CONTROLLER_ID).service
        assert isinstance(service, Controller)
        return service

    @cached_property
    def adoption(self) -> Adoption:
        """What can be asked about its policy, and done with it."""
        return Adoption(self)

    def look(self) -> steady.Steady:
        """Look whether the testbed is in its steady state, and remember it."""
        self.steady = steady.look(self)
        return self.steady

    def adopt(self, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> None:
        """From now on these are the rules, and the flows that they become (adoption.py puts them on the switches)."""
        self.rules, self.flows = rules, flows
        self._controller.rules, self._controller.flows = rules, flows

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

    # --- healing -----------------------------------------------------------------------------------------------

    def restart(self, *service_ids: str) -> None:
        """Start what does not run of these services, as at the boot; returns when all are ready and joined.

        Joining is not waited for while something else is broken, nor where a failover manager sees to it. What
        belongs to a host without power is started when that is back.
        """
        units = []
        for unit in map(self.supervisor.unit, service_ids):
            if unit.service.host in self.powerless:
                self.powerless[unit.service.host].append(unit.service.id)
            else:
                units.append(unit)
        for last in (False, True):
            self._launch_again([unit for unit in units if unit.service.last == last])
        if self.profile.db == "single" and len(self.breakage.status()) < 2:
            for unit in units:
                if isinstance(unit.service, Joins):
                    _wait_joined(unit)
        if CONTROLLER_ID in service_ids:
            self.wait_for_flows()

    def thaw(self, service_id: str) -> None:
        """Let a frozen service go on, if it is still there; returns when it serves."""
        with suppress(RefusedError):  # killed meanwhile, by another fault
            self.supervisor.resume(service_id)
            self.supervisor.wait_ready(service_id)
            if service_id == CONTROLLER_ID:
                self.wait_for_flows()

    def _launch_again(self, units: list[Unit]) -> None:
        def again(unit: Unit) -> None:
            if isinstance(unit.service, Gathers):
                groups.start_again(self.supervisor, unit)
                return
            with suppress(RefusedError):  # somebody else was quicker
                self.supervisor.start(unit.service.id)
            self.supervisor.wait_ready(unit.service.id)

        if len(units) == 1:
            again(units[0])
        else:
            for launched in [self._pool.submit(again, unit) for unit in units]:
                launched.result()

    # --- boot ----------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        self._undo.callback(self._pool.shutdown, wait=False, cancel_futures=True)
        self._undo.callback(self.supervisor.stop_all)
        self._add(deployment.network_services(self.plan, self.rules, self.flows))
        self.supervisor.configure(unit.service for unit in self.supervisor.units)
        # from the first moment: what talks to Open vSwitch waits for ever when it has died
        threading.Thread(target=self._watch, daemon=True, name="watch").start()
        controller = self._pool.submit(self.supervisor.launch, CONTROLLER_ID)
        switching = self._pool.submit(self._start_openvswitch)
        # made while the first daemons start
        self._secrets = secrets.fresh(self.plan, self.profile)
        self._make_hosts()
        services = self._pool.submit(self._start_services)
        self._build_network(switching, controller)
        services.result()
        self._launch(unit for unit in self.supervisor.units if unit.service.last)
        self._join()
        self._settle()

    def _add(self, services: tuple[Service, ...]) -> None:
        for service in services:
            self.supervisor.add(service, self.insides[service.host])

    def _start_openvswitch(self) -> None:
        self.supervisor.launch(DATABASE)
        vsctl.prefer_offloads()
        self.supervisor.launch(SWITCHD)
        self.datapath = vsctl.detect_datapath()

    def _make_hosts(self) -> None:
        self.network = networks.Network(self.plan, self.home / "hosts")
        for host in self.plan.hosts:
            networks.write_host_files(self.plan, host.name, self.home / "hosts" / host.name, self._secrets.authority)
            self.insides[host.name] = self.network.add_host(host.name)
        self._note("hosts")

    def _start_services(self) -> None:
        if self.profile.managed:
            self._offer_power()
        services = deployment.host_services(self.plan, self.profile, self._secrets)
        self._add(services)
        self.supervisor.configure(services)
        self._launch(unit for unit in self.supervisor.units if not unit.service.last and unit.process is None)

    def _offer_power(self) -> None:
        """The monitoring host gets a power switch for each server's database."""
        path = self.insides["mon"].path(str(powerswitch.SOCKET))
        path.parent.mkdir(parents=True, exist_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()
        jsonsocket.serve(listening.detach(), {"cycle": self.cycle_database})

    def cycle_database(self, host: str) -> None:
        """Off and on again, without a good-bye; returns when it is off. Raises RefusedError without power."""
        if host in self.powerless:
            raise RefusedError(f"{host} has no power")
        with suppress(RefusedError):  # it is off already
            self.supervisor.kill(f"{host}/mariadb")
        self._pool.submit(self.supervisor.launch, f"{host}/mariadb")

    def switch_over(self, host: str) -> Any:
        """Another server takes the writes, planned. Raises UsageError or RefusedError when it cannot be."""
        if not self.profile.managed:
            raise UsageError(f"switchover {host}: --db {self.profile.db} has no manager; async and semisync have one")
        asked = self.insides["mon"].path(manager.ASK)
        return jsonsocket.exchange(asked, "the failover manager", "switchover", host=host)

    def _launch(self, units: Iterable[Unit]) -> None:
        for launched in [self._pool.submit(self.supervisor.launch, unit.service.id) for unit in units]:
            launched.result()

    def _build_network(self, switching: Future[None], controller: Future[None]) -> None:
        switching.result()
        self.network.link(CONTROLLER, self.datapath)
        controller.result()
        self.network.start()
        vsctl.wait_for_interfaces(self.plan)
        if self.datapath == "user":
            receivebuffers.widen_receive_buffers(self._pid(SWITCHD))
        self._note("links")
        self.wait_for_flows()
        self._note("flows")

    def wanted_flows(self) -> tuple[Flow, ...]:
        """All that the switches shall hold now: the compiled flows, the fences in force, and what faults put there."""
        fences = (flow for host in self.fences for flow in fence_flows(self.plan, host))
        return (*unsampled(self.flows, self.unsampled), *fences, *self.links.flows)

    def wait_for_flows(self) -> None:
        """Every switch that has power has confirmed its flows, and holds exactly the wanted ones.

        While the controller is broken on purpose nothing is waited for: healing it waits. Raises DeadlineError.
        """
        unit = self.supervisor.unit(CONTROLLER_ID)
        if unit.paused or not unit.wanted:
            return
        look, dark = self.insides[BOX], self.powerless
        wait.until(lambda: self._controller.installed(look, without=dark), what="flows installed", seconds=10)
        flows = self.wanted_flows()
        for switch in (each for each in self.plan.switches if each.name not in dark):
            expected = self.home / f"{switch.name}.flows"
            expected.write_text("".join(f"{flow.text()}\n" for flow in of_switch(flows, switch.name)))
            wait.until(
                lambda name=switch.name, file=expected: ofctl.flow_differences(name, file),  # type: ignore[misc]
                what=f"the flows of {switch.name} as compiled",
                seconds=5,
            )

    def _join(self) -> None:
        joining = [unit for unit in self.supervisor.units if isinstance(unit.service, Joins)]
        for done in [self._pool.submit(_join, unit) for unit in joining]:
            done.result()
        self._note("replication")

    def _settle(self) -> None:
        def unsteady() -> str | None:
            self.supervisor.check_alive()
            return self.look().problems

        wait.until(unsteady, what="steady state", seconds=20)
        self._note("steady")

    def _pid(self, service_id: str) -> int:
        process = self.supervisor.unit(service_id).process
        assert process is not None
        return process.pid

    def _note(self, what: str) -> None:
        self._mark(what, "ready", time.monotonic() - self.began)

    def _watch(self) -> None:
        """Bring the controller back when it dies; say so when Open vSwitch has."""
        while True:
            time.sleep(WATCH_SECONDS)
            self.supervisor.revive()
            for service_id in INFRASTRUCTURE:
                unit = self.supervisor.unit(service_id)
                if unit.state == "died" and "ready" in unit.times:
                    self._broken(f"{service_id} died: the network is gone, so the testbed ends")
                    return


def _join(unit: Unit) -> None:
    assert isinstance(unit.service, Joins)
    service, place = unit.service, unit.place
    try:
        service.join(place)
        _wait_joined(unit)
    except Exception as error:  # whatever its client library says: the daemon's own log knows more
        raise ServiceError(f"{unit.service.id} does not join: {error}", detail=tail(unit)) from None


def _wait_joined(unit: Unit) -> None:
    assert isinstance(unit.service, Joins)
    service, place = unit.service, unit.place
    wait.until(lambda: service.joined(place), what=f"{unit.service.id} joined", seconds=15)
