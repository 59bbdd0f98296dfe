"""Faults as values, what is said about impossible ones, and the order in which they are injected and healed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import FakePlace, FakeService
from flowtable import SimulatedNetwork, answer, first

from controllers.compile import OWN_COOKIES, compile_flows, overlay_flows
from controllers.flow import Flow
from controllers.overlay import black_hole
from controllers.policy import Rule, policy
from services import deployment
from services.secrets import Secrets, fresh
from services.service import Service
from services.supervisor import Supervisor
from testbed import links
from testbed.active import ActiveFaults
from testbed.faults import injection, registry, selection
from testbed.faults.injection import injected, meant, possible
from testbed.faults.kind import PLANNED, SILENT, Fault, Kind
from testbed.faults.registry import KINDS
from testbed.faults.scenarios import DATABASE, WEB, Scenario
from testbed.faults.schedule import schedule
from testbed.faults.selection import Selection
from testbed.interruption import undisturbed
from testbed.links import Links
from testbed.testbed import Testbed
from topo import wait
from topo.errors import DeadlineError, RefusedError, UsageError
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

Services = tuple[Service, ...]


@pytest.fixture(scope="module")
def services(plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], secrets: Secrets) -> Services:
    return (*deployment.network_services(plan, rules, flows), *deployment.host_services(plan, Profile(), secrets))


# --- values --------------------------------------------------------------------------------------------------------


def test_a_fault_reads_as_it_is_typed() -> None:
    assert str(Fault("kill", "srv1", "nginx")) == "kill srv1 nginx"
    assert str(Fault("stop-controller")) == "stop-controller"


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("kill srv1 nginx", "kill srv1 web"),
        ("kill srv1 web", "kill srv1 web"),
        ("freeze srv1 gunicorn", "freeze srv1 app"),
        ("kill srv1 mariadb", "kill srv1 db"),
        ("kill dns nsd", "kill dns resolver"),
        ("kill box controller", "kill box controller"),
        ("kill lb", "kill lb balancer"),
        ("kill lb haproxy", "kill lb balancer"),
        ("cut srv1", "cut srv1 fw1"),
        ("cut core fw1", "cut core fw1"),
        ("error500 srv2", "error500 srv2 app"),
        ("off fw3", "off fw3"),
        ("stop-controller", "stop-controller"),
    ],
)
def test_what_goes_without_saying_is_filled_in(plan: Plan, services: Services, typed: str, understood: str) -> None:
    assert str(meant(Fault(*typed.split()), plan, services)) == understood


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("kil srv1 nginx", r"kil: no such fault; faults: kill, stop, .* \(did you mean kill\?\)"),
        ("kill srv9 nginx", r"fault kill HOST SERVICE: srv9 cannot be its target; .* \(did you mean srv\d\?\)"),
        ("kill", r"fault kill HOST SERVICE: it needs a target; possible: .*srv1.*"),
        ("kill srv1", r"fault kill HOST SERVICE: which of srv1\?; possible: db, app, web, exporter, agent, shipper"),
        ("kill srv1 ngnix", r"fault kill .*: ngnix is not of srv1; .* \(did you mean nginx\?\)"),
        ("kill box ovs-vswitchd", r"fault kill .*: ovs-vswitchd is not of box; possible: controller"),
        ("error500 lb", r"fault error500 HOST: lb cannot be its target; possible: srv1, srv2, srv3"),
        ("cut core", r"fault cut NODE \[NEIGHBOUR\]: which of core\?; possible: client, .*fw3"),
        ("cut srv1 core", r"fault cut .*: core is not of srv1; possible: fw1"),
        ("blackhole lb lb", r"fault blackhole FROM TO: lb is not of lb; .*"),
        ("off srv1 now", r"fault off NODE: now is not of srv1; possible: nothing more to be said"),
        (
            "stop-controller core",
            r"fault stop-controller: core cannot be its target; possible: nothing more .*",
        ),
    ],
)
def test_what_is_impossible_is_refused_with_a_line(plan: Plan, services: Services, typed: str, line: str) -> None:
    with pytest.raises(UsageError, match=rf"^{line}$"):
        meant(Fault(*typed.split()), plan, services)


def test_everything_possible_is_understood_as_it_is(plan: Plan, services: Services) -> None:
    every = possible(plan, services)
    assert {fault.kind for fault in every} == {name for name, kind in KINDS.items() if "PRIMARY" not in kind.words}
    assert all(meant(fault, plan, services) == fault for fault in every)
    assert Fault("off", "core") in every
    assert Fault("kill", "mon", "web") not in every


def test_every_kind_says_what_it_does() -> None:
    assert all(kind.does and kind.words == kind.words.upper() for kind in KINDS.values())


# --- flows ---------------------------------------------------------------------------------------------------------


def test_a_black_hole_swallows_one_direction_between_two_hosts(plan: Plan) -> None:
    flows = compile_flows(plan, policy(plan_of(Profile(firewall="off"))))
    broken = SimulatedNetwork(plan, (*flows, *overlay_flows(plan, black_hole(plan, "lb", "srv1"))))
    lb, srv1, srv2 = (plan.host(name) for name in ("lb", "srv1", "srv2"))
    there = first(lb, srv1, "tcp", 80)
    assert getattr(broken.send("lb", there).dropped_by, "cookie", None) == OWN_COOKIES["black-hole"]
    assert broken.send("srv1", first(srv1, lb, "tcp", 3306)).arrived == "lb"
    assert broken.send("lb", answer(first(srv1, lb, "tcp", 3306))).arrived is None
    assert broken.send("lb", first(lb, srv2, "tcp", 80)).arrived == "srv2"
    assert broken.send("srv2", first(srv2, srv1, "tcp", 80)).arrived == "srv1"


# --- links ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to switches and interfaces, in order."""
    log: list[str] = []
    monkeypatch.setattr(links.ofctl, "carry", lambda switch, port, *, on: log.append(f"{switch} port {port} {on}"))
    monkeypatch.setattr(links.vswitchd, "forget_decisions", lambda: log.append("forget"))
    monkeypatch.setattr(links, "set_up", lambda interface, *, up: log.append(f"{interface} {'up' if up else 'down'}"))
    return log


def test_a_link_cut_twice_is_mended_by_the_last(plan: Plan, done: list[str]) -> None:
    wires = Links(plan)
    link = wires.between("srv1")
    for act in (wires.cut, wires.cut, wires.mend):
        act(link)
    assert done == ["fw1-eth2 down"]
    wires.mend(link)
    assert done == ["fw1-eth2 down", "fw1-eth2 up"]


def test_between_switches_one_port_neither_takes_nor_sends(plan: Plan, done: list[str]) -> None:
    wires = Links(plan)
    link = wires.between("fw1", "core")
    assert link == wires.between("core", "fw1")
    wires.cut(link)
    assert done == [f"core port {link.a.port} False", "forget"]
    wires.mend(link)
    assert done[2:] == [f"core port {link.a.port} True", "forget"]


def test_a_link_that_is_not_there(plan: Plan) -> None:
    with pytest.raises(UsageError, match=r"^srv1 has no link to core; it has links to: fw1$"):
        Links(plan).between("srv1", "core")
    with pytest.raises(UsageError, match=r"^core has several links: say which; it has links to: client, "):
        Links(plan).between("core")


def test_the_flows_of_a_fault_stand_above_all_others_of_the_first_table(plan: Plan, flows: tuple[Flow, ...]) -> None:
    (flow,) = overlay_flows(plan, black_hole(plan, "lb", "srv1"))
    assert max(other.priority for other in flows if other.table == 0) < flow.priority
    assert flow.table == 0


# --- injecting and healing ------------------------------------------------------------------------------------------


class FakeTestbed:
    """A supervisor with one real process, and what else ``injected`` touches."""

    def __init__(self, plan: Plan, root: Path) -> None:
        self.plan = plan
        self.links = Links(plan)
        self.active_faults = ActiveFaults()
        self.powerless: dict[str, list[str]] = {}
        self.supervisor = Supervisor()
        self.supervisor.add(FakeService("web"), FakePlace(root))
        self.supervisor.launch("srv1/web")

    def restart(self, *services: str) -> None:
        for service in services:
            self.supervisor.launch(service)

    def resume(self, service: str) -> None:
        self.supervisor.resume(service)

    @property
    def state(self) -> str:
        return self.supervisor.unit("srv1/web").state


@pytest.fixture
def bed(plan: Plan, tmp_path: Path) -> Iterator[FakeTestbed]:
    bed = FakeTestbed(plan, tmp_path)
    yield bed
    bed.supervisor.stop_all()


@pytest.fixture
def marks() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def mark(marks: list[tuple[str, str]]) -> Callable[..., None]:
    return lambda what, **details: marks.append((what, details["fault"]))


@pytest.mark.parametrize(("kind", "state"), [("kill", "killed"), ("stop", "stopped"), ("freeze", "paused")])
@pytest.mark.parametrize("interruption", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_it_is_in_force_in_the_block_and_healed_after_it(
    bed: Any,
    marks: list[tuple[str, str]],
    mark: Callable[..., None],
    kind: str,
    state: str,
    interruption: type[BaseException] | None,
) -> None:
    def block() -> None:
        with injected(bed, Fault(kind, "srv1"), mark) as injection:
            number = injection.number
            assert (bed.state, [what for what, _ in marks]) == (state, ["fault", "fault in force"])
            rows = [(row["number"], row["fault"]) for row in bed.active_faults.status()]
            assert rows == [(number, f"{kind} srv1 web")]
            if interruption:
                raise interruption

    if interruption:
        with pytest.raises(interruption):
            block()
    else:
        block()
    assert bed.state == "ready"
    assert marks == [(what, f"{kind} srv1 web") for what in ("fault", "fault in force", "heal", "healed")]
    assert bed.active_faults.status() == []


def test_a_fault_that_fails_half_way_is_undone(
    bed: Any, monkeypatch: pytest.MonkeyPatch, mark: Any, marks: Any
) -> None:
    really = bed.supervisor.kill

    def half(service: str) -> None:
        really(service)
        raise OSError("half-way")

    monkeypatch.setattr(bed.supervisor, "kill", half)
    with pytest.raises(OSError, match="half-way"), injected(bed, Fault("kill", "srv1"), mark):
        raise AssertionError("not reached")
    assert bed.state == "ready"
    assert [what for what, _ in marks] == ["fault"]
    assert bed.active_faults.status() == []


def test_what_does_not_run_cannot_fail(bed: Any, mark: Any) -> None:
    with (
        injected(bed, Fault("kill", "srv1"), mark),
        pytest.raises(RefusedError, match=r"^srv1/web is not running$"),
        injected(bed, Fault("kill", "srv1"), mark),
    ):
        raise AssertionError("not reached")
    assert bed.state == "ready"


def test_what_has_no_power_cannot_lose_it(bed: Any) -> None:
    bed.powerless["fw1"] = []
    with pytest.raises(RefusedError, match=r"^fw1 has no power$"), injected(bed, Fault("off", "fw1")):
        raise AssertionError("not reached")


def test_what_is_healed_on_a_host_without_power_starts_with_it(tmp_path: Path) -> None:
    testbed = Testbed(Profile(), tmp_path)
    testbed.supervisor.add(FakeService("web"), FakePlace(tmp_path))
    testbed.powerless["srv1"] = ["srv1/app"]
    testbed.restart("srv1/web")
    assert not testbed.supervisor.unit("srv1/web").runs
    assert testbed.powerless == {"srv1": ["srv1/app", "srv1/web"]}
    del testbed.powerless["srv1"]
    testbed.restart("srv1/web")
    assert testbed.supervisor.unit("srv1/web").state == "ready"
    testbed.supervisor.stop_all()


def test_a_failed_healing_is_told_and_not_marked(
    bed: Any, monkeypatch: pytest.MonkeyPatch, mark: Any, marks: Any
) -> None:
    def broken(_: str) -> None:
        raise RefusedError("it does not come back")

    monkeypatch.setattr(bed, "restart", broken)
    with pytest.raises(RefusedError, match="does not come back"), injected(bed, Fault("kill", "srv1"), mark):
        pass
    assert [what for what, _ in marks] == ["fault", "fault in force", "heal"]


def test_by_hand_it_stays_until_it_is_healed(bed: Any) -> None:
    row = injection.by_hand(bed, "freeze", "srv1")
    assert (row["fault"], row["by_hand"], bed.state) == ("freeze srv1 web", True, "paused")
    with pytest.raises(RefusedError, match=r"^no fault 9 was injected by hand; there are: 1 \(freeze srv1 web\)$"):
        bed.active_faults.heal(9)
    assert bed.active_faults.heal(row["number"]) == ["freeze srv1 web"]
    assert (bed.state, bed.active_faults.status()) == ("ready", [])
    assert bed.active_faults.heal() == []


def test_healing_all_begins_with_the_latest(monkeypatch: pytest.MonkeyPatch, plan: Plan, bed: Any) -> None:
    order: list[str] = []

    @contextmanager
    def noted(_: Any, fault: Fault) -> Iterator[None]:
        yield
        order.append(fault.target)

    monkeypatch.setitem(
        registry.KINDS,  # type: ignore[arg-type]
        "off",
        Kind("off", "NODE", "off", SILENT, 5.0, lambda plan, _: {node.name: () for node in plan.nodes}, noted),
    )
    for name in ("srv1", "fw1", "core"):
        injection.by_hand(bed, "off", name)
    with injected(bed, Fault("off", "lb")):
        assert bed.active_faults.heal() == ["off core", "off fw1", "off srv1"]
        left = [row["fault"] for row in bed.active_faults.status()]
        assert left == ["off lb"], "an experiment's own is its own to heal"
    assert order == ["core", "fw1", "srv1", "lb"]


def test_a_healing_that_fails_keeps_no_other_from_being_healed(
    monkeypatch: pytest.MonkeyPatch, bed: Any, done: list[str]
) -> None:
    restart = bed.restart

    def broken(service: str) -> None:
        restart(service)
        raise RefusedError("it does not come back")

    for words in ("cut srv1", "kill srv1 web"):
        injection.by_hand(bed, *words.split())
    monkeypatch.setattr(bed, "restart", broken)
    with pytest.raises(RefusedError, match="does not come back"):
        bed.active_faults.heal()
    assert bed.active_faults.status() == []
    assert done == ["fw1-eth2 down", "fw1-eth2 up"]


def test_what_is_started_while_healing_can_be_asked_to_stop() -> None:
    with undisturbed():
        os.kill(os.getpid(), signal.SIGTERM)
        child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    assert child.wait(5) == -signal.SIGTERM


def test_a_crash_of_the_master_leaves_nothing_for_the_next_start(tmp_path: Path) -> None:
    """Its worker holds what the next one needs."""
    supervisor, place = Supervisor(), FakePlace(tmp_path)
    supervisor.add(FakeService("a", ("sh", "-c", "sleep 61 & echo $! > worker; wait")), place)
    supervisor.launch("srv1/a")
    worker = place.path("worker")
    wait.until(lambda: None if worker.exists() and worker.read_text().strip() else "none", what="worker", seconds=5)
    pid = int(worker.read_text())
    master = supervisor.unit("srv1/a").process
    assert master is not None
    master.kill()
    master.wait()
    assert supervisor.unit("srv1/a").state == "died"
    assert Path(f"/proc/{pid}").exists()
    supervisor.start("srv1/a")
    try:
        left = Path(f"/proc/{pid}/stat")
        assert not left.exists() or left.read_text().rpartition(")")[2].split()[0] == "Z"
    finally:
        supervisor.stop_all()


# --- selectors, scenarios, schedules, limits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("srv2", ("srv2",)),
        ("core", ("core",)),
        ("", ("",)),
        ("web", ("srv1", "srv2", "srv3")),
        ("balancer", ("lb",)),
        ("primary", ("srv3",)),
        ("firewall of primary", ("fw3",)),
        ("firewall of web", ("fw1", "fw2", "fw3")),
    ],
)
def test_a_selector_stands_for_hosts_or_for_itself(plan: Plan, selector: str, names: tuple[str, ...]) -> None:
    assert Selection(plan, lambda: "srv3")(selector) == names


def test_one_of_a_role_is_drawn(plan: Plan) -> None:
    select = Selection(plan, lambda: "srv1", Random(1))
    drawn = {select("one of web") for _ in range(50)}
    assert drawn == {("srv1",), ("srv2",), ("srv3",)}


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("kill srv1 nginx", ["kill", "srv1", "nginx"]),
        ("kill one of web nginx", ["kill", "one of web", "nginx"]),
        ("cut primary firewall of primary", ["cut", "primary", "firewall of primary"]),
        ("off firewall of one of web", ["off", "firewall of one of web"]),
        ("stop-controller", ["stop-controller"]),
    ],
)
def test_a_selector_may_be_several_words(typed: str, parts: list[str]) -> None:
    assert selection.words(typed.split()) == parts


@pytest.mark.parametrize("scenario", [*WEB, *DATABASE], ids=lambda scenario: str(scenario.fault))
def test_every_scenario_at_a_server_is_a_possible_fault(plan: Plan, services: Services, scenario: Scenario) -> None:
    profile = Profile(db="semisync")
    managed = (*services, *deployment.host_services(plan, profile, fresh(plan, profile)))
    successor = "srv3" if scenario.symptom == PLANNED else ""
    fault = scenario.at("srv2", plan, successor)
    understood = meant(fault, plan, managed)
    assert understood in possible(plan, managed)
    assert {"srv2", "fw2"} & {understood.target, understood.what}


def test_a_schedule_has_each_equally_often_and_the_seed_decides() -> None:
    first, again, other = (schedule("abcde", 52, Random(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert {first.count(letter) for letter in "abcde"} == {10, 11}
    assert all(set(first[start : start + 5]) == set("abcde") for start in range(0, 50, 5))


def slow(entering: float = 0.0, leaving: float = 0.0, done: list[str] | None = None) -> Kind:
    @contextmanager
    def inject(_: Any, __: Fault) -> Iterator[None]:
        time.sleep(entering)
        yield
        time.sleep(leaving)
        (done if done is not None else []).append("healed")

    return Kind("off", "NODE", "off", SILENT, 0.1, selection.nodes, inject)


def test_injecting_has_a_time_limit_that_names_the_fault(monkeypatch: pytest.MonkeyPatch, bed: Any) -> None:
    done: list[str] = []
    monkeypatch.setitem(registry.KINDS, "off", slow(entering=0.3, done=done))  # type: ignore[arg-type]
    line = r"^fault off srv1 in force: not within 0.1 s$"
    with pytest.raises(DeadlineError, match=line), injected(bed, Fault("off", "srv1")):
        raise AssertionError("not reached")
    assert bed.active_faults.status() == []
    wait.until(lambda: None if done else "not healed", what="healed as soon as it could be", seconds=5)


def test_healing_has_a_time_limit_that_names_the_fault(
    monkeypatch: pytest.MonkeyPatch, bed: Any, mark: Any, marks: Any
) -> None:
    monkeypatch.setitem(registry.KINDS, "off", slow(leaving=0.3))  # type: ignore[arg-type]
    line = r"^fault off srv1 healed: not within 0.1 s$"
    with pytest.raises(DeadlineError, match=line), injected(bed, Fault("off", "srv1"), mark):
        pass
    assert [what for what, _ in marks] == ["fault", "fault in force", "heal"]


def test_whoever_is_asked_to_leave_while_a_fault_is_injected_heals_it(
    monkeypatch: pytest.MonkeyPatch, bed: Any
) -> None:
    done: list[str] = []
    kind = replace(slow(entering=0.3, done=done), seconds=5.0)
    monkeypatch.setitem(registry.KINDS, "off", kind)  # type: ignore[arg-type]
    leaving = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    leaving.start()
    with pytest.raises(KeyboardInterrupt), injected(bed, Fault("off", "srv1")):
        raise AssertionError("not reached")
    assert done == ["healed"]


def test_a_role_means_all_of_its_hosts(monkeypatch: pytest.MonkeyPatch, bed: Any, mark: Any, marks: Any) -> None:
    hit: list[str] = []

    @contextmanager
    def inject(_: Any, fault: Fault) -> Iterator[None]:
        hit.append(fault.target)
        yield
        hit.remove(fault.target)

    monkeypatch.setitem(registry.KINDS, "off", replace(slow(), inject=inject))  # type: ignore[arg-type]
    with injected(bed, Fault("off", "web"), mark):
        assert hit == ["srv1", "srv2", "srv3"]
        assert [row["fault"] for row in bed.active_faults.status()] == ["off web"]
    assert hit == []
    assert {fault for _, fault in marks} == {"off web"}
