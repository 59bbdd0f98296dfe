"""What the switches have counted: packets that each flow has dropped, and conversations that were let begin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controllers.compile import cookie_name
from controllers.policy import Rule

LINE = re.compile(r"cookie=(0x[0-9a-f]+),.*?n_packets=(\d+),(.*)actions=(.*)")
PROTOCOL = re.compile(r",(tcp|udp|icmp)\b")
# an action that leads a packet on; what has none of these drops it, whatever it tells the controller
GOES_ON = re.compile(r"goto_table:|output:|ct\(|resubmit|group:|NORMAL|FLOOD|LOCAL|IN_PORT|\bALL\b")


@dataclass(frozen=True)
class Counted:
    """``dropped``: packets, by the flow's or the rule's name. ``begun``: packets that a flow let begin a conversation,

    by the protocol that it asks for; "ip" where it asks for none.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    begun: Counter[str] = field(default_factory=Counter)

    def since(self, before: Counted) -> Counted:
        """What came in between."""
        return Counted(self.dropped - before.dropped, self.begun - before.begun)


def counted(dump: str, rules: tuple[Rule, ...]) -> Counted:
    """The counters of one switch, from its ``dump-flows``."""
    dropped: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    for cookie, packets, match, actions in LINE.findall(dump):
        if "ct(commit" in actions:
            protocol = PROTOCOL.search(match)
            begun[protocol[1] if protocol else "ip"] += int(packets)
        elif not GOES_ON.search(actions):
            dropped[cookie_name(int(cookie, 16), rules)] += int(packets)
    return Counted(dropped, begun)


def drops(found: Mapping[str, Counted]) -> dict[str, dict[str, int]]:
    """Switch -> name -> packets, of those that dropped any."""
    return {switch: dict(each.dropped) for switch, each in found.items() if each.dropped}


def packets(stopped: Iterable[Mapping[str, int]]) -> int:
    """How many were dropped in all."""
    return sum(sum(names.values()) for names in stopped)
