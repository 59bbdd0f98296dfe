"""A running testbed's policy: proved, shown, and replaced while everything runs, overlays staying as they are.

    compile -> the controller's file, replaced whole -> "reload" -> a bundle for each switch -> dumped -> proved
    -> connections that the new policy forbids are forgotten

A switch takes a bundle whole or not at all. A controller that dies in between comes back, reads the file and gives
each switch the rest, again as a bundle: every switch has the old policy or the new one, and a packet that passes
several of them passes only what each of those allows. What cannot be proved is rolled back the same way.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Lock
from typing import Any

from controllers import northbound
from controllers.compile import compile_flows
from controllers.desired import controller_file, replace
from controllers.flow import Flow
from controllers.overlay import Overlay, from_dict
from controllers.ovs import conntrack, dump, ofctl, vswitchd
from controllers.policy import Rule
from controllers.policyfile import parse, render
from controllers.verify import explain
from controllers.verify.change import changes
from controllers.verify.proof import Proof
from services.controller import FLOWS, northbound_socket
from testbed.core import TestbedCore
from topo.errors import FoobarError, RefusedError
from topo.paths import BOX

MOST_LOOKS = 50


class PolicyRollout:
    """Shows, proves and replaces the policy of one testbed. Its proof is kept, so that the next one is quicker."""

    def __init__(self, testbed: TestbedCore) -> None:
        self.testbed = testbed
        self._proof = Proof(testbed.plan)
        self._lock = Lock()

    def rules(self) -> dict[str, Any]:
        """The policy as a file, and what each rule has counted: {"text", "counters"}."""
        return {"text": render(self.testbed.rules), "counters": self.testbed.rule_counters()}

    def verify(self) -> dict[str, Any]:
        """Do the switches let through what policy and overlays allow, and nothing else? Read from the switches."""
        with self._lock:
            began = time.monotonic()
            flows, overlays = self._looked()
            wrong = self._wrong(flows, overlays)
            return {
                "holds": not wrong,
                "differences": wrong,
                "overlays": [overlay.as_dict() for overlay in overlays],
                "flows": len(flows),
                "switches": len(self.testbed.plan.switches),
                "ms": round((time.monotonic() - began) * 1000, 3),
            }

    def apply(self, text: str, name: str) -> dict[str, Any]:
        """Put a policy file's rules in force; the old ones are back if it cannot be done, or proved.

        Raises RefusedError, and touches nothing, when the switches do not do what the present policy says.
        """
        with self._lock:
            testbed = self.testbed
            rules = parse(text, name, testbed.plan)
            old, began = testbed.rules, time.monotonic()
            if wrong := self._wrong(*self._looked()):
                raise RefusedError(f"the switches do not do what the present policy says: {wrong[0]}")
            try:
                self._install(rules)
                if wrong := self._wrong(*self._looked()):
                    raise FoobarError(f"what the switches do is not what {name} says: {wrong[0]}")
            except FoobarError as error:
                self._roll_back(old, error)
                raise FoobarError(f"the old policy is in force again: {error}") from None
            judged = self._judge_connections()
            return {
                "changes": [change.text(testbed.plan) for change in changes(old, rules, testbed.plan)],
                "connections": {kind: len(each) for kind, each in vars(judged).items()},
                "switches": len(testbed.plan.switches),
                "ms": round((time.monotonic() - began) * 1000, 3),
            }

    def _roll_back(self, old: tuple[Rule, ...], error: FoobarError) -> None:
        try:
            self._install(old)
        except FoobarError as another:
            raise FoobarError(f"{error}; and the old policy is not back: {another}") from None

    def _judge_connections(self) -> conntrack.Judged:
        """Forget all connections that may not go on as they are: their next packet is judged like a first one."""
        known = conntrack.parse(vswitchd.tell("dpctl/dump-conntrack"))
        judged = conntrack.judged(known, self.testbed.rules, self.testbed.plan)
        for connection in (*judged.cut, *judged.anew):
            with suppress(FoobarError):  # it has ended by itself meanwhile
                vswitchd.tell("dpctl/flush-conntrack", *connection.words())
        return judged

    def dumped(self) -> tuple[Flow, ...]:
        """The flows that the switches hold."""
        switches = [switch.name for switch in self.testbed.plan.switches]
        return tuple(flow for name in switches for flow in dump.parse(name, ofctl.dump_flows(name)))

    def _looked(self) -> tuple[tuple[Flow, ...], tuple[Overlay, ...]]:
        """The flows of the switches and the overlays that stand meanwhile: read while nothing is being changed."""
        for _ in range(MOST_LOOKS):
            before = self._known()
            flows = self.dumped()
            if not before["pending"] and before == self._known():
                break
        return flows, tuple(from_dict(content) for content in before["overlays"])

    def _known(self) -> dict[str, Any]:
        """The overlays as the controller knows them, or as its file says while it is away."""
        try:
            answer: dict[str, Any] = northbound.ask(
                "overlays", socket=self.testbed.inside(BOX).path(northbound_socket(self.testbed.plan))
            )
        except RefusedError:
            overlays = [overlay.as_dict() for overlay in self.testbed.overlays.standing]
            return {"overlays": overlays, "changes": 0, "pending": 0}
        return answer

    def _wrong(self, flows: tuple[Flow, ...], overlays: tuple[Overlay, ...]) -> list[str]:
        testbed = self.testbed
        checked = self._proof.check(flows, testbed.rules, overlays)
        return explain.differences(testbed.plan, flows, testbed.rules, checked, overlays)

    def _install(self, rules: tuple[Rule, ...]) -> None:
        """Returns when every switch holds what these rules become. Raises FoobarError when one does not."""
        testbed = self.testbed
        testbed.adopt(rules, compile_flows(testbed.plan, rules))
        replace(testbed.inside(BOX).path(FLOWS), controller_file(testbed.plan, testbed.rules, testbed.flows))
        # a controller that dies of it or has died, or a switch that is away, gets it when it is back
        with suppress(RefusedError):
            northbound.ask("reload", socket=testbed.inside(BOX).path(northbound_socket(testbed.plan)))
        testbed.wait_for_flows()
