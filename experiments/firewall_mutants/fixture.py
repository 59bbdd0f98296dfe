"""The switches of a testbed as a fixture for wrong flows: put on, read back, and undone, whatever happens.

The controller takes no part: it installs when a switch connects and when it is asked, and looks at nothing in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from controllers import sampling
from controllers.flow import Flow
from controllers.ovs import bypass, conntrack, dump, ofctl, vswitchd
from testbed.interruption import undisturbed
from topo.errors import FoobarError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

Change: TypeAlias = tuple[list[Flow], list[Flow]]  # flows to be taken off, flows to be put on


class SwitchFixture:
    """``right``: the flows as compiled."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self.right = testbed.flows
        self._names = [switch.name for switch in testbed.plan.switches]
        self._meters = sampling.meters(self.right)

    @contextmanager
    def holding(self, flows: Iterable[Flow]) -> Iterator[None]:
        """In this block the switches hold these flows. Raises FoobarError when the right ones cannot be restored."""
        wrong = tuple(flows)
        try:
            self._exchange(self.right, wrong)
            yield
        finally:
            with undisturbed():
                self._exchange(wrong, self.right)

    def dumped(self) -> tuple[Flow, ...]:
        """The flows that the switches hold."""
        texts = _side_by_side(ofctl.dump_flows, self._names)
        return tuple(flow for name, text in zip(self._names, texts, strict=True) for flow in dump.parse(name, text))

    def as_compiled(self) -> bool:
        """Do the switches hold exactly the compiled flows, cookies included?"""
        return alike(self.dumped()) == alike(self.right)

    def forget_strange_connections(self) -> None:
        """Connections begun while flows were wrong, which the policy would not have let begin so, are judged anew."""
        known = conntrack.parse(vswitchd.tell("dpctl/dump-conntrack"))
        judged = conntrack.judged(known, self.testbed.rules, self.testbed.plan)
        for connection in (*judged.cut, *judged.anew):
            with suppress(FoobarError):  # it has ended by itself meanwhile
                vswitchd.tell("dpctl/flush-conntrack", *connection.words())

    def _have_meters(self, flows: Iterable[Flow]) -> None:
        """Flows that name a meter are refused where it is not; a rule that denies something more has one more."""
        for switch, named in sampling.meters(flows).items():
            known = self._meters.setdefault(switch, set())
            for number in sorted(named - known):
                bypass.add_meter(switch, number)
                known.add(number)

    def _exchange(self, old: Sequence[Flow], new: Sequence[Flow]) -> None:
        changes = difference(old, new)
        self._have_meters(new)
        _side_by_side(lambda switch: bypass.exchange_flows(switch, *changes[switch]), list(changes))
        vswitchd.forget_decisions()


def difference(old: Iterable[Flow], new: Iterable[Flow]) -> Mapping[str, Change]:
    """For each switch that differs: the flows to be taken off it, and those to be put on."""
    was, will = dict.fromkeys(old), dict.fromkeys(new)
    changes: dict[str, Change] = {}
    for flow in was:
        if flow not in will:
            changes.setdefault(flow.switch, ([], []))[0].append(flow)
    for flow in will:
        if flow not in was:
            changes.setdefault(flow.switch, ([], []))[1].append(flow)
    return changes


def alike(flows: Iterable[Flow]) -> frozenset[Any]:
    """Flows without the order in which their matches are written."""
    return frozenset(
        (flow.switch, flow.table, flow.priority, flow.cookie, frozenset(flow.match), flow.actions) for flow in flows
    )


def _side_by_side(do: Callable[[str], Any], switches: list[str]) -> list[Any]:
    if len(switches) < 2:
        return [do(switch) for switch in switches]
    with ThreadPoolExecutor(len(switches)) as pool:
        return list(pool.map(do, switches))
