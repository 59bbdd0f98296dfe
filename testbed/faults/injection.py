"""Faults: values, and one context manager that injects one and heals it, whatever happens in between.

    with injected(testbed, Fault("kill", "srv1", "web"), mark=run.mark):
        ...                         # it is in force
    # everything of it is back and ready

The timeline gets four marks, each with ``fault``: ``fault`` just before anything is done, ``fault in force`` when all
of it is (processes gone or frozen, flows in force, links dead), ``heal`` when the block ends, ``healed`` when what the
fault took is back: links and flows as before, services ready. What *others* make of it - the balancer, replicas that
connect again - is not waited for: how long they take is what experiments measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controllers.compile import blackhole_flow
from services.service import Fails, Service
from testbed import power
from testbed.interruption import undisturbed
from topo.errors import UsageError, among
from topo.paths import BOX
from topo.plan import Plan

if TYPE_CHECKING:
    from testbed.testbed import Testbed

Mark = Callable[..., None]
#: what a kind of fault can hit -> what of it; nothing in there means that nothing more is to be said
Targets = Mapping[str, tuple[str, ...]]
CONTROLLER = "controller"
NOTHING_MORE = "nothing more to be said"


@dataclass(frozen=True)
class Fault:
    """``target``: a host or switch. ``what``: its service, or the host or switch at the other end."""

    kind: str
    target: str = ""
    what: str = ""

    def __str__(self) -> str:
        return " ".join(word for word in (self.kind, self.target, self.what) if word)


@dataclass(frozen=True)
class Kind:
    """A way to fail. ``inject`` is a context manager that heals itself; ``words`` says what follows its name."""

    words: str
    does: str
    targets: Callable[[Plan, tuple[Service, ...]], Targets]
    inject: Callable[[Testbed, Fault], AbstractContextManager[None]]


@contextmanager
def injected(testbed: Testbed, fault: Fault, mark: Mark = lambda *_, **__: None) -> Iterator[int]:
    """In this block the fault is in force; gives its number. Raises UsageError or RefusedError with nothing done."""
    services = tuple(unit.service for unit in testbed.supervisor.units)
    fault = meant(fault, testbed.plan, services)
    text = str(fault)
    with testbed.breakage.noted(text) as number:
        mark("fault", fault=text)
        inside = KINDS[fault.kind].inject(testbed, fault)
        inside.__enter__()
        try:
            mark("fault in force", fault=text)
            yield number
        finally:
            with undisturbed():
                mark("heal", fault=text)
                inside.__exit__(None, None, None)
                mark("healed", fault=text)


def by_hand(testbed: Testbed, kind: str, target: str = "", what: str = "") -> dict[str, Any]:
    """Inject a fault that stays until ``testbed.breakage.heal``; its number and how it is understood."""
    number = testbed.breakage.hold(injected(testbed, Fault(kind, target, what)))
    return next(row for row in testbed.breakage.status() if row["number"] == number)


def meant(fault: Fault, plan: Plan, services: tuple[Service, ...]) -> Fault:
    """The fault with what goes without saying filled in. Raises UsageError, naming what is possible."""
    if fault.kind not in KINDS:
        raise UsageError(f"{fault.kind or 'nothing'}: no such fault; faults: {among(fault.kind, KINDS)}")
    kind = KINDS[fault.kind]
    usage = f"fault {fault.kind} {kind.words}".strip()
    targets = kind.targets(plan, services)
    if fault.target not in targets:
        said = f"{fault.target} cannot be its target" if fault.target else "it needs a target"
        possible = among(fault.target, targets) if any(targets) else NOTHING_MORE
        raise UsageError(f"{usage}: {said}; possible: {possible}")
    whats = targets[fault.target]
    here = [each for each in services if each.host == fault.target and each.role in whats]
    what = next((each.role for each in here if each.is_called(fault.what)), fault.what)
    what = whats[0] if not what and len(whats) == 1 else what
    if what not in (whats or ("",)):
        known = (*whats, *(each.product for each in here if what and each.product))
        said = f"{what} is not of {fault.target}" if what else f"which of {fault.target}?"
        raise UsageError(f"{usage}: {said}; possible: {among(what, known) if whats else NOTHING_MORE}")
    return Fault(fault.kind, fault.target, what)


def possible(plan: Plan, services: Iterable[Service]) -> list[Fault]:
    """Every fault that there is."""
    known = tuple(services)
    return [
        Fault(name, target, what)
        for name, kind in KINDS.items()
        for target, whats in kind.targets(plan, known).items()
        for what in whats or ("",)
    ]


# --- what can be hit -----------------------------------------------------------------------------------------------


def _services(_: Plan, services: tuple[Service, ...]) -> Targets:
    """Every service of a host, and the controller; not Open vSwitch: without it there is no testbed to heal."""
    hit = [each for each in services if each.host != BOX or each.role == CONTROLLER]
    return {host: tuple(each.role for each in hit if each.host == host) for host in dict.fromkeys(e.host for e in hit)}


def _failing(_: Plan, services: tuple[Service, ...]) -> Targets:
    return {each.host: (each.role,) for each in services if isinstance(each, Fails)}


def _neighbours(plan: Plan, _: tuple[Service, ...]) -> Targets:
    return {node.name: tuple(far.node for _, far in plan.links_of(node.name)) for node in plan.nodes}


def _others(plan: Plan, _: tuple[Service, ...]) -> Targets:
    names = [host.name for host in plan.hosts]
    return {name: tuple(other for other in names if other != name) for name in names}


def _nodes(plan: Plan, _: tuple[Service, ...]) -> Targets:
    return {node.name: () for node in plan.nodes}


def _nobody(_: Plan, __: tuple[Service, ...]) -> Targets:
    return {"": ()}


# --- how it is done ------------------------------------------------------------------------------------------------


@contextmanager
def _killed(testbed: Testbed, fault: Fault) -> Iterator[None]:
    service = _running(testbed, fault)
    with _undone(lambda: testbed.supervisor.kill(service), lambda: testbed.restart(service)):
        yield


@contextmanager
def _stopped(testbed: Testbed, fault: Fault) -> Iterator[None]:
    service = _running(testbed, fault)
    with _undone(lambda: testbed.supervisor.stop(service), lambda: testbed.restart(service)):
        yield


@contextmanager
def _frozen(testbed: Testbed, fault: Fault) -> Iterator[None]:
    service = _running(testbed, fault)
    with _undone(lambda: testbed.supervisor.pause(service), lambda: testbed.resume(service)):
        yield


@contextmanager
def _failing_answers(testbed: Testbed, fault: Fault) -> Iterator[None]:
    unit = testbed.supervisor.unit(_running(testbed, fault))
    service = unit.service
    assert isinstance(service, Fails)
    with _undone(lambda: service.fail(unit.place), lambda: service.recover(unit.place)):
        yield


@contextmanager
def _cut(testbed: Testbed, fault: Fault) -> Iterator[None]:
    link = testbed.links.between(fault.target, fault.what)
    with _undone(lambda: testbed.links.cut(link), lambda: testbed.links.mend(link)):
        yield


@contextmanager
def _blackhole(testbed: Testbed, fault: Fault) -> Iterator[None]:
    flow = blackhole_flow(testbed.plan, fault.target, fault.what)
    with _undone(lambda: testbed.links.drop(flow), lambda: testbed.links.pass_again(flow)):
        yield


@contextmanager
def _off(testbed: Testbed, fault: Fault) -> Iterator[None]:
    name = fault.target
    power.refuse_if_off(testbed, name)
    off, on = power.host_off, power.host_on
    if testbed.plan.is_switch(name):
        off, on = power.switch_off, power.switch_on
    with _undone(lambda: off(testbed, name), lambda: on(testbed, name)):
        yield


@contextmanager
def _no_controller(testbed: Testbed, _: Fault) -> Iterator[None]:
    with _stopped(testbed, Fault("stop", BOX, CONTROLLER)):
        yield


@contextmanager
def _undone(do: Callable[[], None], undo: Callable[[], None]) -> Iterator[None]:
    try:
        do()
        yield
    finally:
        undo()


def _running(testbed: Testbed, fault: Fault) -> str:
    service = f"{fault.target}/{fault.what}"
    power.refuse_if_ended(testbed, service)
    return service


KINDS: Mapping[str, Kind] = {
    "kill": Kind("HOST SERVICE", "it crashes: SIGKILL to all of its processes", _services, _killed),
    "stop": Kind("HOST SERVICE", "an administrator stops it: it finishes what it has begun", _services, _stopped),
    "freeze": Kind("HOST SERVICE", "it hangs: SIGSTOP; its connections stay open", _services, _frozen),
    "error500": Kind("HOST", "its application answers 500 to everything", _failing, _failing_answers),
    "cut": Kind("NODE [NEIGHBOUR]", "a link is cut, in both directions", _neighbours, _cut),
    "blackhole": Kind("FROM TO", "what one host sends to another vanishes; not what comes back", _others, _blackhole),
    "off": Kind("NODE", "a host or a switch loses its power", _nodes, _off),
    "stop-controller": Kind("", "the switches are left alone", _nobody, _no_controller),
}
