"""Requests to the controller: changes of the desired state, sent to the switches in turn, each confirmed by itself.

Everything that a request sends has a transaction id, and a switch's error names it. So a refusal belongs to the request
that caused it, however many are under way. Changes go out in the order in which the desired state takes them up, to all
switches; waiting for the barriers is not part of the turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from controllers import messages
from controllers import overlay as overlays
from controllers.desired import Desired, FlowDict, Flows
from controllers.ovs import vswitchd
from topo import wait
from topo.errors import DeadlineError, FoobarError, RefusedError

BARRIER_SECONDS = 2.0


@dataclass
class Outstanding:
    """The messages that one request has sent to one switch, and their outcome. ``barrier``: an event."""

    dpid: str
    barrier: Any
    xids: set[int] = field(default_factory=set)
    refusal: str = ""


class Requests:
    """Takes requests, one change at a time. ``semaphore`` and ``event`` make those of the caller's kind of threads."""

    def __init__(self, desired: Desired, semaphore: Callable[[], Any], event: Callable[[], Any]) -> None:
        self.desired = desired
        self.rules = desired.rules
        self.switches: dict[str, Any] = {}
        self.meters: dict[str, set[int]] = {}
        self._turn = semaphore()
        self._event = event
        self._sent: dict[tuple[str, int], Outstanding] = {}
        self._pending: dict[int, str] = {}
        self._changes = 0

    # --- what can be asked -------------------------------------------------------------------------------------

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """The northbound's requests by name; an overlay can be asked for as a value or by its kind."""

        def of_kind(kind: str) -> Callable[..., Any]:
            return lambda **words: self.put(overlays.KINDS[kind](self.desired.plan, **words).as_dict())

        kinds = {kind: of_kind(kind) for kind in overlays.KINDS}
        return {**kinds, "put": self.put, "lift": self.lift, "overlays": self.overlays, "reload": self.reload}

    def put(self, overlay: Mapping[str, Any]) -> dict[str, Any]:
        """Put an overlay in force. A switch's refusal makes it undesired again; a switch that is away does not."""
        new = overlays.from_dict(overlay)
        overlays.refuse_block(self.desired.plan, new, self.desired.overlays)
        flows = self.desired.compiled(new)
        try:
            return self._change(new.name, flows, lambda: self.desired.put(new))
        except (DeadlineError, RefusedError):
            raise
        except FoobarError:
            if self.desired.get(new.name) == new:
                with suppress(FoobarError):
                    self._change(new.name, {}, lambda: self.desired.lift(new.name))
            raise

    def lift(self, name: str) -> dict[str, Any]:
        """An overlay is in force no longer. Raises UsageError for a name that none can have."""
        if self.desired.get(name) is None:
            overlays.named(self.desired.plan, name)
        return self._change(name, {}, lambda: self.desired.lift(name))

    def overlays(self) -> dict[str, Any]:
        """The overlays that switches have confirmed, how many changes there have been, and whether one is under way."""
        pending = set(self._pending.values())
        standing = [overlay.as_dict() for overlay in self.desired.overlays if overlay.name not in pending]
        return {"overlays": standing, "changes": self._changes, "pending": len(self._pending)}

    def reload(self) -> dict[str, Any]:
        """The file of flows has been replaced: each switch gets what has changed, all at once or not at all."""
        with self._under_way(""):
            with self._turn:
                began, old, names = time.monotonic(), self.desired.policy, self.desired.rules
                self.desired.read()
                # a cookie that both policies have is another rule's in each of them until all switches have changed
                self.rules = {cookie: name for cookie, name in names.items() if self.desired.rules.get(cookie) == name}
                sent = self._send(old, self.desired.policy, self.desired.switches)
            try:
                return self._confirmed(sent, self.desired.switches, began)
            finally:
                self.rules = self.desired.rules

    def lift_what_is_over(self, now: float) -> None:
        """End the overlays whose time has come. A switch that is away gets it when it is back."""
        for name in self.desired.over(now):
            try:
                self.lift(name)
            except FoobarError:
                continue

    # --- what switches say -------------------------------------------------------------------------------------

    def connected(self, datapath: Any, present: list[Any]) -> int:
        """Give a switch the flows that it lacks and delete those not desired; returns how many it shall hold."""
        dpid = str(datapath.id)
        with self._turn:
            self.switches[dpid] = datapath
            desired = self._possible(dpid, self.desired.flows(dpid))
            flows = [messages.flow_mod(datapath, flow) for flow in desired]
            change = messages.bundle(datapath, messages.difference(datapath, present, flows))
            for message in (*self._missing(datapath, desired), *change):
                datapath.send_msg(message)
            datapath.send_msg(datapath.ofproto_parser.OFPBarrierRequest(datapath))
        return len(flows)

    def gone(self, datapath: Any) -> None:
        """Forget a switch whose connection has ended, unless it is back already."""
        dpid = str(datapath.id)
        if self.switches.get(dpid) is datapath:
            del self.switches[dpid]

    def barrier(self, dpid: str, xid: int) -> bool:
        """A switch has carried out all messages before its barrier. Returns True if a request has waited for that."""
        sent = self._sent.pop((dpid, xid), None)
        if sent:
            sent.barrier.set()
        return sent is not None

    def refused(self, dpid: str, xid: int, why: str) -> None:
        """A switch has refused a message: this is noted for the request that sent it, and for no other."""
        if sent := self._sent.get((dpid, xid)):
            sent.refusal = sent.refusal or why

    # --- how it is done ----------------------------------------------------------------------------------------

    def _change(self, name: str, new: Flows, step: Callable[[], None]) -> dict[str, Any]:
        """Replace one overlay's flows by others, ``step`` being the same change of the desired state."""
        with self._under_way(name):
            with self._turn:
                began, before = time.monotonic(), self.desired.get(name)
                old = self.desired.compiled(before) if before else {}
                step()
                asked = {dpid: self.desired.switches[dpid] for dpid in {**old, **new}}
                sent = self._send(old, new, asked)
            return self._confirmed(sent, asked, began)

    @contextmanager
    def _under_way(self, name: str) -> Iterator[None]:
        """A change that not all switches have confirmed yet."""
        self._changes += 1
        number = self._changes
        self._pending[number] = name
        try:
            yield
        finally:
            del self._pending[number]

    def _send(self, old: Flows, new: Flows, asked: Mapping[str, str]) -> list[Outstanding]:
        """Send each connected switch the messages that make the difference, and a barrier."""
        sent = []
        for dpid in asked:
            datapath = self.switches.get(dpid)
            if datapath is not None:
                was, will = (self._possible(dpid, flows.get(dpid, [])) for flows in (old, new))
                change = [*self._missing(datapath, will), *messages.exchange(datapath, was, will)]
                sent.append(self._send_to(datapath, change))
        return sent

    def _send_to(self, datapath: Any, change: list[Any]) -> Outstanding:
        sent = Outstanding(str(datapath.id), self._event())
        for message in (*change, datapath.ofproto_parser.OFPBarrierRequest(datapath)):
            datapath.set_xid(message)
            sent.xids.add(message.xid)
            self._sent[sent.dpid, message.xid] = sent
            datapath.send_msg(message)
        return sent

    def _confirmed(self, sent: list[Outstanding], asked: Mapping[str, str], began: float) -> dict[str, Any]:
        """Wait until each switch has confirmed and no packet is decided by the old flows."""
        try:
            for one in sent:
                if not one.barrier.wait(max(began + BARRIER_SECONDS - time.monotonic(), 0)):
                    raise wait.late(f"{asked[one.dpid]}: a barrier's reply", BARRIER_SECONDS)
        finally:
            for one in sent:
                for xid in one.xids:
                    self._sent.pop((one.dpid, xid), None)
        if refusing := [one for one in sent if one.refusal]:
            names = ", ".join(asked[one.dpid] for one in refusing)
            raise FoobarError(f"{names} refused: {refusing[0].refusal}")
        if away := [name for dpid, name in asked.items() if dpid not in {one.dpid for one in sent}]:
            raise RefusedError(f"{', '.join(away)}: not connected; what was asked is in force when it comes back")
        vswitchd.forget_decisions()
        return {
            "switches": list(asked.values()),
            "ms": round((time.monotonic() - began) * 1000, 3),
            "overlays": [overlay.name for overlay in self.desired.overlays],
        }

    def _possible(self, dpid: str, flows: list[FlowDict]) -> list[FlowDict]:
        """The flows of a switch, as far as it can have them."""
        return flows if dpid in self.meters else [messages.unsampled(flow) for flow in flows]

    def _missing(self, datapath: Any, flows: list[FlowDict]) -> list[Any]:
        """The meters that flows name and the switch does not have yet, and the one that bounds their sum."""
        dpid = str(datapath.id)
        if dpid not in self.meters:
            return []
        missing = sorted({datapath.ofproto.OFPM_CONTROLLER, *messages.meters(flows)} - self.meters[dpid])
        self.meters[dpid].update(missing)
        return [messages.meter(datapath, number) for number in missing]
