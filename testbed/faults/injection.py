"""Faults injected and healed: one context manager, whatever happens in between.

    with injected(testbed, Fault("kill", "srv1", "web"), mark=run.mark):
        ...                         # it is in force
    # everything of it is back and ready

The timeline gets four marks, each with ``fault``: ``fault`` just before anything is done, ``fault in force`` when all
of it is (processes gone or frozen, flows in force, links dead), ``heal`` when the block ends, ``healed`` when what the
fault took is back: links and flows as before, services ready. What *others* make of it - the balancer, replicas that
connect again - is not waited for: how long they take is what experiments measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from services.service import Service
from testbed import databases
from testbed.faults.kind import Fault, Injection, Kind, Mark, Services
from testbed.faults.limit import Limited
from testbed.faults.registry import KINDS
from testbed.faults.selection import Selection
from testbed.interruption import undisturbed
from topo.errors import UsageError, among
from topo.plan import Plan

if TYPE_CHECKING:
    from testbed.testbed import Testbed

NOTHING_MORE = "nothing more to be said"


@contextmanager
def injected(testbed: Testbed, fault: Fault, mark: Mark = lambda *_, **__: None) -> Iterator[Injection]:
    """In this block the fault is in force.

    Raises UsageError or RefusedError with nothing done, and DeadlineError when injecting or healing takes longer than
    the kind's time limit.
    """
    faults = selected(testbed, fault)
    text = str(faults[0] if len(faults) == 1 else fault)
    with testbed.active_faults.noted(text) as number:
        injection = Injection(testbed, number, mark, lambda part: injected(testbed, part, mark))
        mark("fault", fault=text)
        injection.begin()
        inside = Limited(_each(injection, faults), f"fault {text}", KINDS[fault.kind].seconds)
        inside.__enter__()
        try:
            mark("fault in force", fault=text)
            yield injection
        finally:
            with undisturbed():
                mark("heal", fault=text)
                inside.__exit__()
                mark("healed", fault=text)


@contextmanager
def _each(injection: Injection, faults: Iterable[Fault]) -> Iterator[None]:
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(KINDS[fault.kind].inject(injection, fault))
        yield


def by_hand(testbed: Testbed, kind: str, target: str = "", what: str = "") -> dict[str, Any]:
    """Inject a fault that stays until ``testbed.active_faults.heal``; its number and how it is understood."""
    number = testbed.active_faults.hold(injected(testbed, Fault(kind, target, what)))
    return next(row for row in testbed.active_faults.status() if row["number"] == number)


def selected(testbed: Testbed, fault: Fault) -> list[Fault]:
    """The faults that it stands for now, one for every host that its selectors mean. Raises UsageError."""
    select = Selection(testbed.plan, lambda: databases.primary(testbed))
    whats = select(fault.what) if _kind(fault.kind).between else (fault.what,)
    services = tuple(unit.service for unit in testbed.supervisor.units)
    return [
        meant(replace(fault, target=target, what=what), testbed.plan, services)
        for target in select(fault.target)
        for what in whats
    ]


def meant(fault: Fault, plan: Plan, services: Services) -> Fault:
    """The fault with what goes without saying filled in. Raises UsageError, naming what is possible."""
    kind = _kind(fault.kind)
    usage = f"fault {fault.kind} {kind.words}".strip()
    targets = kind.targets(plan, services)
    if fault.target not in targets:
        said = f"{fault.target} cannot be its target" if fault.target else "it needs a target"
        names = among(fault.target, targets) if any(targets) else NOTHING_MORE
        raise UsageError(f"{usage}: {said}; possible: {names}")
    whats = targets[fault.target]
    here = [service for service in services if service.host == fault.target and service.role in whats]
    what = next((service.role for service in here if service.is_called(fault.what)), fault.what)
    alone = [each for each in whats if not any(service.role == each and service.watches for service in here)]
    what = alone[0] if not what and len(alone) == 1 else what
    if what not in (whats or ("",)):
        known = (*whats, *(service.product for service in here if what and service.product))
        said = f"{what} is not of {fault.target}" if what else f"which of {fault.target}?"
        raise UsageError(f"{usage}: {said}; possible: {among(what, known) if whats else NOTHING_MORE}")
    return Fault(fault.kind, fault.target, what)


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise UsageError(f"{name or 'nothing'}: no such fault; faults: {among(name, KINDS)}")
    return KINDS[name]


def possible(plan: Plan, services: Iterable[Service]) -> list[Fault]:
    """Every fault that there is, by the names of hosts."""
    known = tuple(services)
    return [
        Fault(name, target, what)
        for name, kind in KINDS.items()
        for target, whats in kind.targets(plan, known).items()
        for what in whats or ("",)
    ]
