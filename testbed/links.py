"""Cutting links, and mending them: as if at the cable, with no controller taking part and no flow changed.

A host's link is cut by an ioctl on the switch's end. Between two switches there are patch ports, which have no
interface to take down: there one end is configured to take and send nothing.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections import Counter

from controllers.ovs import ofctl, vswitchd
from topo.errors import UsageError, among
from topo.plan import Plan
from topo.wiring import Link

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8913, 0x8914, 0x01, 0x40
REQUEST = "16sH22x"


class Links:
    """Each link counts how often it is cut: the last one to let go mends it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._cuts: Counter[Link] = Counter()
        self._lock = threading.Lock()

    def between(self, node: str, other: str = "") -> Link:
        """The link of two neighbours; ``other`` may be left out where there is only one. Raises UsageError."""
        far = {far.node: own for own, far in self.plan.links_of(node)}
        if not other and len(far) == 1:
            (other,) = far
        if other not in far:
            said = f"has no link to {other}" if other else "has several links: say which"
            raise UsageError(f"{node} {said}; it has links to: {among(other, far)}")
        return next(link for link in self.plan.links if {link.a.node, link.b.node} == {node, other})

    def cut(self, link: Link) -> None:
        """Nothing passes any more, in either direction; at once, and no packet announces it."""
        with self._lock:
            self._cuts[link] += 1
            if self._cuts[link] == 1:
                self._carry(link, up=False)

    def mend(self, link: Link) -> None:
        with self._lock:
            self._cuts[link] -= 1
            if not self._cuts[link]:
                self._carry(link, up=True)

    def down(self) -> list[Link]:
        """The hosts' links over which nothing passes, cut here or by hand, at either end."""
        return [
            link for link in self.plan.links if not self.plan.is_switch(link.b.node) and not is_up(link.a.interface)
        ]

    def disturbed(self) -> dict[Link, bool]:
        """Those that nothing here has cut -> True where the switch's end was set down, False where a carrier lacks."""
        with self._lock:
            return {link: not is_set_up(link.a.interface) for link in self.down() if not self._cuts[link]}

    def _carry(self, link: Link, *, up: bool) -> None:
        if self.plan.is_switch(link.b.node):
            ofctl.carry(link.a.node, link.a.port, on=up)
            vswitchd.forget_decisions()
        else:
            set_up(link.a.interface, up=up)


def set_up(interface: str, *, up: bool) -> None:
    """The switch's end of a host's link, up or down: the host sees its carrier go and keeps addresses and routes.

    An ioctl: it takes microseconds, where ``ip`` or ovs-ofctl would take ten milliseconds.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = _flags(any_socket, interface)
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(REQUEST, interface.encode(), flags))


def is_up(interface: str) -> bool:
    """True if the switch's end of a host's link is up, and the host's end too: else there is no carrier."""
    return _present_flags(interface) & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


def is_set_up(interface: str) -> bool:
    """True if this end is up, whatever the other one is."""
    return bool(_present_flags(interface) & IFF_UP)


def _present_flags(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return _flags(any_socket, interface)


def _flags(any_socket: socket.socket, interface: str) -> int:
    answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack(REQUEST, interface.encode(), 0))
    flags: int = struct.unpack(REQUEST, answer)[1]
    return flags
