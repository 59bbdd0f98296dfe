"""Flows read back from what ``ovs-ofctl dump-flows`` prints: a switch's tables, as the same values that we compile.

Nothing is skipped: what is not understood raises RefusedError with the flow, because a proof that left it out
would prove nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from controllers.flow import (
    ADDRESSES,
    CT_FLAGS,
    FRAGMENTS,
    MACS,
    OVS_NAMES,
    SAMPLE_BYTES,
    SET_NAMES,
    Action,
    Conntrack,
    Flow,
    Goto,
    MatchValue,
    Output,
    Sample,
    SetField,
)
from topo.errors import RefusedError

STATISTICS = {"duration", "n_packets", "n_bytes", "idle_age", "hard_age", "idle_timeout", "hard_timeout", "importance"}
PROTOCOLS = {
    "ip": {"eth_type": 0x0800},
    "arp": {"eth_type": 0x0806},
    "icmp": {"eth_type": 0x0800, "ip_proto": 1},
    "tcp": {"eth_type": 0x0800, "ip_proto": 6},
    "udp": {"eth_type": 0x0800, "ip_proto": 17},
    "sctp": {"eth_type": 0x0800, "ip_proto": 132},
    "ipv6": {"eth_type": 0x86DD},
    "rarp": {"eth_type": 0x8035},
}
OXM_NAMES = {ovs: oxm for oxm, ovs in OVS_NAMES.items()}
PORTS = {6: "tcp", 17: "udp"}
NUMBERS = {
    "in_port",
    "eth_type",
    "ip_proto",
    "tcp_src",
    "tcp_dst",
    "udp_src",
    "udp_dst",
    "icmpv4_type",
    "icmp_code",
    "arp_op",
    "ct_mark",
    "vlan_tci",
}
WORD = re.compile(r"[^,(]+(?:\((?:[^()]|\([^()]*\))*\))?")
SAMPLE = re.compile(rf"meter:(\d+),CONTROLLER:{SAMPLE_BYTES}")
SET_FIELD = re.compile(r"set_field:([^-]+)->(\w+)")
FIELDS_SET = {ovs: oxm for oxm, ovs in SET_NAMES.items()}
COMMIT = re.compile(r"exec\((?:set_field:(\w+)->ct_mark|load:(\w+)->NXM_NX_CT_MARK\[\])\)")
ABSENT, VLAN_BITS = 0x1000, 0x1FFF


def parse(switch: str, text: str) -> tuple[Flow, ...]:
    """All flows of one switch's dump, in its order. Raises RefusedError, naming what is not understood."""
    return tuple(parse_flow(switch, line) for line in text.splitlines() if "actions=" in line)


def parse_flow(switch: str, line: str) -> Flow:
    """One line of a dump, or a flow's own ``text()``."""
    head, _, actions = line.strip().partition("actions=")
    try:
        table, priority, cookie, match = _head(head)
        return Flow(switch, table, priority, cookie, tuple(match.items()), tuple(_actions(actions)))
    except (ValueError, KeyError) as error:
        raise RefusedError(f"{switch}: a flow that is not understood ({error}): {line.strip()}") from None


def _head(head: str) -> tuple[int, int, int, dict[str, MatchValue]]:
    table, priority, cookie = 0, 32768, 0
    match: dict[str, MatchValue] = {}
    for word in filter(None, re.split(r"[,\s]+", head)):
        name, _, value = word.partition("=")
        if name == "table":
            table = int(value)
        elif name == "priority":
            priority = int(value)
        elif name == "cookie":
            cookie = int(value.split("/")[0], 0)
        elif name in STATISTICS:
            if "timeout" in name:
                raise ValueError("a flow that expires")
        elif name in PROTOCOLS and not value:
            match |= PROTOCOLS[name]
        else:
            name, parsed = _field(name, value, match)
            match[name] = parsed
    return table, priority, cookie, match


def _field(name: str, value: str, match: dict[str, MatchValue]) -> tuple[str, MatchValue]:
    name = OXM_NAMES.get(name, name)
    if name in ("tp_src", "tp_dst"):
        name = f"{PORTS[int(str(match['ip_proto']))]}_{name[3:]}"
    if name == "ct_state":
        return name, _ct_state(value)
    if name == "ip_frag":
        return name, FRAGMENTS[value]
    if name == "dl_vlan":
        number = int(value, 0)
        return ("vlan_vid", 0) if number == 0xFFFF else ("vlan_tci", (ABSENT | number, VLAN_BITS))
    plain, _, mask = value.partition("/")
    if name == "vlan_tci" and (int(plain, 0), int(mask or "0xffff", 0)) == (0, VLAN_BITS):
        return "vlan_vid", 0
    if name in ADDRESSES:
        return name, plain if not mask else (int(ipaddress.ip_address(plain)), _address_mask(mask))
    if name in MACS:
        return name, plain if not mask else (mac_number(plain), mac_number(mask))
    if name not in NUMBERS:
        raise ValueError(f"field {name}")
    return name, int(plain, 0) if not mask else (int(plain, 0), int(mask, 0))


def _ct_state(text: str) -> tuple[int, int]:
    """``+trk-new`` (or ``new|trk``, all bits) as value and mask."""
    if text[0] not in "+-":
        return sum(CT_FLAGS[flag] for flag in text.split("|")), 0xFF
    words = re.findall(r"([+-])([a-z]+)", text)
    return (
        sum(CT_FLAGS[flag] for sign, flag in words if sign == "+"),
        sum(CT_FLAGS[flag] for _, flag in words),
    )


def _address_mask(text: str) -> int:
    if "." in text:
        return int(ipaddress.ip_address(text))
    return 0xFFFFFFFF << (32 - int(text)) & 0xFFFFFFFF


def mac_number(text: str) -> int:
    """A MAC address as the number that it is."""
    return int(text.replace(":", ""), 16)


def _actions(text: str) -> Iterator[Action]:
    if text == "drop":
        return
    if sampled := SAMPLE.fullmatch(text):
        yield Sample(int(sampled[1]))
        return
    for word in WORD.findall(text):
        if word.startswith("ct("):
            yield _conntrack(word[3:-1])
        elif word.startswith("output:"):
            yield Output(int(word[7:]))
        elif word.startswith("goto_table:"):
            yield Goto(int(word[11:]))
        elif setting := SET_FIELD.fullmatch(word):
            yield SetField(FIELDS_SET[setting[2]], setting[1])
        else:
            raise ValueError(f"action {word}")


def _conntrack(text: str) -> Conntrack:
    zone, table, commit, mark = 0, None, False, 0
    for word in WORD.findall(text):
        name, _, value = word.partition("=")
        if name == "commit":
            commit = True
        elif name == "zone":
            zone = int(value)
        elif name == "table":
            table = int(value)
        elif committed := COMMIT.fullmatch(word):
            mark = int(committed[1] or committed[2], 0)
        else:
            raise ValueError(f"ct's {word}")
    return Conntrack(zone, table, commit, mark)
