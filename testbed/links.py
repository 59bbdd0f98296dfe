"""Cutting links and making packets vanish, and both undone: as if at the cable, with no controller taking part."""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from controllers.compile import deaf_flow
from controllers.flow import Flow
from controllers.ovs import ofctl, vswitchd
from topo.errors import UsageError, among
from topo.plan import Plan
from topo.wiring import Link

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
REQUEST = "16sH22x"


class Links:
    """Each link counts who wants it cut, and each flow who wants it there: the last one to let go undoes it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._cuts: Counter[Link] = Counter()
        self._drops: Counter[Flow] = Counter()
        self._lock = threading.Lock()

    def between(self, node: str, other: str = "") -> Link:
        """The link of two neighbours; ``other`` may be left out where there is only one. Raises UsageError."""
        far = {far.node: own for own, far in self.plan.links_of(node)}
        if not other and len(far) == 1:
            (other,) = far
        if other not in far:
            raise UsageError(f"{node} has no link to {other or 'nobody'}; it has links to: {among(other, far)}")
        return next(link for link in self.plan.links if {link.a.node, link.b.node} == {node, other})

    def cut(self, link: Link) -> None:
        """Nothing passes any more, in either direction; at once, and no packet tells anybody."""
        with self._lock:
            self._cuts[link] += 1
            if self._cuts[link] == 1:
                self._carry(link, up=False)

    def mend(self, link: Link) -> None:
        with self._lock:
            self._cuts[link] -= 1
            if not self._cuts[link]:
                self._carry(link, up=True)

    def drop(self, *flows: Flow) -> None:
        """Have these flows drop packets: on their switches, and what the datapath remembers is forgotten."""
        with self._lock:
            self._count(self._drops, 1, 1, ofctl.add_flow, flows)

    def pass_again(self, *flows: Flow) -> None:
        with self._lock:
            self._count(self._drops, -1, 0, ofctl.delete_flow, flows)

    @property
    def flows(self) -> tuple[Flow, ...]:
        """The flows that are on switches for faults only."""
        return tuple(flow for flow, count in self._drops.items() if count)

    def _carry(self, link: Link, *, up: bool) -> None:
        if self.plan.is_switch(link.b.node):
            deaf = tuple(deaf_flow(self.plan, end) for end in link.ends)
            if up:
                self._count(self._drops, -1, 0, ofctl.delete_flow, deaf)
            else:
                self._count(self._drops, 1, 1, ofctl.add_flow, deaf)
        else:
            set_up(link.a.interface, up=up)

    def _count(
        self, counts: Counter[Flow], step: int, turn: int, change: Callable[[Flow], None], flows: tuple[Flow, ...]
    ) -> None:
        turning = []
        for flow in flows:
            counts[flow] += step
            if counts[flow] == turn:
                turning.append(flow)
        _side_by_side(change, turning)
        vswitchd.forget_decisions()


def _side_by_side(change: Callable[[Flow], None], flows: list[Flow]) -> None:
    if len(flows) < 2:
        for flow in flows:
            change(flow)
        return
    with ThreadPoolExecutor(len(flows)) as pool:
        for done in [pool.submit(change, flow) for flow in flows]:
            done.result()


def set_up(interface: str, *, up: bool) -> None:
    """The switch's end of a host's link, up or down: the host sees its carrier go and keeps addresses and routes.

    An ioctl: it takes microseconds, where ``ip`` or ovs-ofctl would take ten milliseconds.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack(REQUEST, interface.encode(), 0))
        (_, flags) = struct.unpack(REQUEST, answer)
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(REQUEST, interface.encode(), flags))
