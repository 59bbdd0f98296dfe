"""A flow: one entry of a switch's table as a value, and its text in ovs-ofctl's syntax.

Matches use OpenFlow's own field names (OXM); a value is an int, an address, or (value, mask).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any, TypeAlias

MatchValue: TypeAlias = int | str | tuple[int, int]

# bits of ct_state, as Open vSwitch numbers them
CT_NEW, CT_EST, CT_REL, CT_RPL, CT_INV, CT_TRK = 1, 2, 4, 8, 16, 32
CT_FLAGS = {"new": CT_NEW, "est": CT_EST, "rel": CT_REL, "rpl": CT_RPL, "inv": CT_INV, "trk": CT_TRK}


# Open vSwitch's tools know these fields by older names
OVS_NAMES = {
    "eth_src": "dl_src",
    "eth_dst": "dl_dst",
    "eth_type": "dl_type",
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "ip_proto": "nw_proto",
    "icmpv4_type": "icmp_type",
    "ip_frag": "nw_frag",
}
# and what is written into a packet by others again
SET_NAMES = {"eth_src": "eth_src", "eth_dst": "eth_dst", "ipv4_src": "ip_src", "ipv4_dst": "ip_dst"}
ADDRESSES = frozenset({"ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa"})
MACS = frozenset({"eth_src", "eth_dst", "arp_sha", "arp_tha"})
# (ovs-ofctl diff-flows finds "yes" and "not_later" different from themselves, so no flow of ours has those)
FRAGMENTS: dict[str, MatchValue] = {"no": 0, "first": 1, "later": 3, "yes": (1, 1), "not_later": (0, 2)}


@dataclass(frozen=True)
class Output:
    """Send the packet out of a port."""

    port: int


@dataclass(frozen=True)
class Goto:
    """Go on in a later table."""

    table: int


@dataclass(frozen=True)
class Conntrack:
    """Send the packet through the connection tracker.

    With ``table``: track, then go on there with ct_state set. With ``commit``: remember the connection under
    ``mark``, the number of the rule that allowed it.
    """

    zone: int
    table: int | None = None
    commit: bool = False
    mark: int = 0


@dataclass(frozen=True)
class Sample:
    """Drop the packet, and send its first bytes to the controller as often as that meter of the switch lets one pass.

    Always a flow's only action: a meter drops what exceeds it, so nothing may come after.
    """

    meter: int


@dataclass(frozen=True)
class SetField:
    """Write another address into the packet; what comes after sees it."""

    field: str
    value: str


Action: TypeAlias = Output | Goto | Conntrack | Sample | SetField

#: how much of a packet a sample holds: all headers that events tell of, options included
SAMPLE_BYTES = 128


@dataclass(frozen=True)
class Flow:
    """One table entry. No actions means drop; so does a ``Sample``. ``cookie`` is the number of the rule it comes from
    (compile.py)."""

    switch: str
    table: int
    priority: int
    cookie: int
    match: tuple[tuple[str, MatchValue], ...]
    actions: tuple[Action, ...] = ()

    @property
    def drops(self) -> bool:
        """True if no packet that it matches goes on."""
        return all(isinstance(action, Sample) for action in self.actions)

    def text(self) -> str:
        """The entry as ovs-ofctl reads and prints it."""
        match = "".join(f",{_match_text(name, value)}" for name, value in self.match)
        actions = ",".join(_action_text(action) for action in self.actions) or "drop"
        return f"cookie={self.cookie:#x},table={self.table},priority={self.priority}{match},actions={actions}"

    def as_dict(self) -> dict[str, Any]:
        """JSON for the controller's file: actions as [kind, fields]."""
        return {
            "table": self.table,
            "priority": self.priority,
            "cookie": self.cookie,
            "match": dict(self.match),
            "actions": [[type(action).__name__, asdict(action)] for action in self.actions],
        }


def of_switch(flows: Iterable[Flow], switch: str) -> list[Flow]:
    """One switch's share of the flows."""
    return [flow for flow in flows if flow.switch == switch]


def _match_text(name: str, value: MatchValue) -> str:
    if name == "vlan_vid":
        return "vlan_tci=0x0000/0x1fff"
    if name == "ip_frag":
        return "nw_frag=" + next(word for word, meant in FRAGMENTS.items() if meant == value)
    if name == "ct_state":
        assert isinstance(value, tuple)
        bits, mask = value
        return "ct_state=" + "".join(
            ("+" if bits & bit else "-") + flag for flag, bit in CT_FLAGS.items() if mask & bit
        )
    return f"{OVS_NAMES.get(name, name)}={_value_text(name, value)}"


def _value_text(name: str, value: MatchValue) -> str:
    if isinstance(value, tuple):
        if name in ADDRESSES:
            return "/".join(str(IPv4Address(number)) for number in value)
        if name in MACS:
            return "/".join(":".join(f"{number:012x}"[at : at + 2] for at in range(0, 12, 2)) for number in value)
        return "/".join(f"{number:#x}" for number in value)
    return f"{value:#x}" if name in ("eth_type", "ct_mark", "vlan_tci") else f"{value}"


def _action_text(action: Action) -> str:
    if isinstance(action, Output):
        return f"output:{action.port}"
    if isinstance(action, Goto):
        return f"goto_table:{action.table}"
    if isinstance(action, SetField):
        return f"set_field:{action.value}->{SET_NAMES[action.field]}"
    if isinstance(action, Sample):
        return f"meter:{action.meter},CONTROLLER:{SAMPLE_BYTES}"
    parts = ["commit"] if action.commit else []
    parts.append(f"zone={action.zone}")
    if action.table is not None:
        parts.append(f"table={action.table}")
    if action.commit:
        parts.append(f"exec(set_field:{action.mark:#x}->ct_mark)")
    return f"ct({','.join(parts)})"
