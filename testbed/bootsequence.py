"""A boot: hosts, daemons, switches and links at the same time, each step as soon as what it needs is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial

from controllers import jsonsocket
from controllers.ovs import receivebuffers, vsctl
from services import deployment, secrets
from services.failover import manager, powerswitch
from services.service import Joins, Service
from services.unit import Unit
from testbed import hostroot, monitored, recovery, steady
from testbed import network as networks
from testbed.core import CONTROLLER_ADDRESS, CONTROLLER_ID, TestbedCore
from testbed.recovery import OVSDB, SWITCHD
from topo import users, wait
from topo.errors import ServiceError
from topo.plan import MONITOR


class BootSequence:
    """One boot of one testbed; ``undo`` gets what must be undone, whether the boot succeeds or not."""

    def __init__(self, testbed: TestbedCore, undo: ExitStack, broken: Callable[[str], None]) -> None:
        self.testbed = testbed
        self.homes = testbed.home / "hosts"
        self.supervisor = testbed.supervisor
        self.broken = broken
        undo.callback(testbed.pool.shutdown, wait=False, cancel_futures=True)
        undo.callback(self.supervisor.stop_all)

    def run(self) -> None:
        """Returns when the testbed is steady. Raises FoobarError."""
        testbed = self.testbed
        for host in testbed.plan.hosts:
            hostroot.make_folders(self.homes / host.name)
        self._add(deployment.network_services(testbed.plan, testbed.rules, testbed.flows))
        self.supervisor.configure(unit.service for unit in self.supervisor.units)
        # from the first moment: what talks to Open vSwitch waits for ever when it has died
        threading.Thread(target=recovery.watch, args=(testbed, self.broken), daemon=True, name="watch").start()
        controller = testbed.pool.submit(self.supervisor.launch, CONTROLLER_ID)
        switching = testbed.pool.submit(self._start_openvswitch)
        # made while the first daemons start
        self.secrets = secrets.fresh(testbed.plan, testbed.profile)
        self._make_hosts()
        services = testbed.pool.submit(self._start_services)
        self._build_network(switching, controller)
        services.result()
        self._launch(unit for unit in self.supervisor.units if unit.service.last)
        self._join()
        self._settle()
        self._tell_manager()
        if testbed.profile.monitored:
            monitored.begin(testbed)

    def _add(self, services: tuple[Service, ...]) -> None:
        for service in services:
            self.supervisor.add(service, self.testbed.insides[service.host])

    def _start_openvswitch(self) -> None:
        self.supervisor.launch(OVSDB)
        vsctl.prefer_offloads()
        if self.testbed.profile.detecting:
            vsctl.count_often()
        self.supervisor.launch(SWITCHD)
        self.testbed.datapath = vsctl.detect_datapath()

    def _make_hosts(self) -> None:
        testbed, homes = self.testbed, self.homes
        testbed.network = networks.Network(testbed.plan, homes)
        hostroot.build()
        for host in testbed.plan.hosts:
            hostroot.write_host_files(testbed.plan, host.name, homes / host.name, self.secrets.authority)
            testbed.insides[host.name] = testbed.network.add_host(host.name)
        self._note("hosts")

    def _start_services(self) -> None:
        testbed = self.testbed
        if testbed.profile.managed:
            self._offer_power()
        services = deployment.host_services(testbed.plan, testbed.profile, self.secrets)
        self._add(services)
        self.supervisor.configure(services)
        self._launch(unit for unit in self.supervisor.units if not unit.service.last and unit.process is None)

    def _offer_power(self) -> None:
        """The monitoring host gets a power switch for each server's database."""
        path = self.testbed.insides[self.testbed.plan.host_of(MONITOR).name].path(str(powerswitch.SOCKET))
        path.parent.mkdir(parents=True, exist_ok=True)
        users.share(path.parent, users.FAILOVER)
        handlers = {"cycle": partial(recovery.cycle_database, self.testbed)}
        jsonsocket.serve(jsonsocket.listening(path), handlers)

    def _launch(self, units: Iterable[Unit]) -> None:
        pool = self.testbed.pool
        for launched in [pool.submit(self.supervisor.launch, unit.service.id) for unit in units]:
            launched.result()

    def _build_network(self, switching: Future[None], controller: Future[None]) -> None:
        testbed = self.testbed
        switching.result()
        testbed.network.link(CONTROLLER_ADDRESS, testbed.datapath)
        controller.result()
        testbed.network.start()
        vsctl.wait_for_interfaces(testbed.plan)
        if testbed.datapath == "user":
            receivebuffers.widen_receive_buffers(self._pid(SWITCHD))
        self._note("links")
        testbed.wait_for_flows()
        self._note("flows")

    def _join(self) -> None:
        joining = [unit for unit in self.supervisor.units if isinstance(unit.service, Joins)]
        for joined in [self.testbed.pool.submit(_join, unit) for unit in joining]:
            joined.result()
        self._note("replication")

    def _settle(self) -> None:
        def unsteady() -> str | None:
            self.supervisor.check_alive()
            return steady.look(self.testbed).problems

        wait.until(unsteady, what="steady state", seconds=20)
        self._note("steady")

    def _tell_manager(self) -> None:
        """A primary that does not answer is replaced from now on: before, it may just have been a slow boot."""
        if self.testbed.profile.managed:
            place = self.testbed.insides[self.testbed.plan.host_of(MONITOR).name]
            jsonsocket.exchange(place.path(manager.ASK), "the failover manager", "boot-ended")

    def _pid(self, service_id: str) -> int:
        process = self.supervisor.unit(service_id).process
        assert process is not None
        return process.pid

    def _note(self, what: str) -> None:
        self.testbed.mark(what, "ready", time.monotonic() - self.testbed.began)


def _join(unit: Unit) -> None:
    assert isinstance(unit.service, Joins)
    try:
        unit.service.join(unit.place)
        recovery.wait_joined(unit)
    except Exception as error:  # whatever its client library says: the daemon's own log knows more
        raise ServiceError(f"{unit.service.id} does not join: {error}", detail=unit.tail()) from None
