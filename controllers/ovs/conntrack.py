"""What the connection tracker knows, and which of it another policy would not have let begin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controllers.compile import PROTO_NAMES, PROTO_NUMBERS
from controllers.policy import Rule, decide
from topo.plan import Plan

LINE = re.compile(r"^(?P<proto>\w+),orig=\((?P<orig>[^)]*)\),reply=\([^)]*\)(?:,zone=(?P<zone>\d+))?")
MARK = re.compile(r",mark=(\d+)")
# what Open vSwitch prints a name for; of all other protocols it prints the number
NUMBERS = {**PROTO_NUMBERS, "igmp": 2, "dccp": 33, "icmpv6": 58, "sctp": 132, "udplite": 136}


@dataclass(frozen=True)
class Connection:
    """One entry: who began it with whom. ``number``: the protocol's; ``ports``, of those that rules name alone, are as
    dumped: sport and dport, or id, type and code.
    """

    zone: int
    mark: int
    number: int
    src: str
    dst: str
    ports: tuple[tuple[str, int], ...]

    @property
    def proto(self) -> str:
        """icmp, tcp, udp, or "ip" for any other."""
        return PROTO_NAMES.get(self.number, "ip")

    @property
    def asked(self) -> int:
        """The destination's port, the type of ICMP, or the number of any other protocol."""
        if self.proto == "ip":
            return self.number
        ports = dict(self.ports)
        return ports.get("type" if self.proto == "icmp" else "dport", 0)

    def words(self) -> tuple[str, str]:
        """The entry as ``dpctl/flush-conntrack`` is told it."""
        names = {"sport": "ct_tp_src", "dport": "ct_tp_dst", "id": "icmp_id", "type": "icmp_type", "code": "icmp_code"}
        fields = [f"ct_nw_src={self.src}", f"ct_nw_dst={self.dst}", f"ct_nw_proto={self.number}"]
        return f"zone={self.zone}", ",".join([*fields, *(f"{names[name]}={value}" for name, value in self.ports)])


def parse(text: str) -> list[Connection]:
    """The entries of ``dpctl/dump-conntrack``."""
    made = []
    for line in text.splitlines():
        found = LINE.match(line)
        if not found:
            continue
        named = found["proto"]
        number = NUMBERS.get(named) or int(named)
        fields = dict(part.split("=") for part in found["orig"].split(","))
        src, dst = fields.pop("src"), fields.pop("dst")
        ports = tuple((name, int(value)) for name, value in fields.items()) if named in PROTO_NUMBERS else ()
        mark = MARK.search(line)
        made.append(Connection(int(found["zone"] or 0), int(mark[1]) if mark else 0, number, src, dst, ports))
    return made


@dataclass
class Judged:
    """Connections under another policy.

    ``kept`` go on as they are; ``cut`` it would not have let begin; ``anew`` another rule of it allows: they are known
    under that one's mark as soon as their beginner speaks again.
    """

    kept: list[Connection] = field(default_factory=list)
    cut: list[Connection] = field(default_factory=list)
    anew: list[Connection] = field(default_factory=list)


def judged(connections: Iterable[Connection], rules: Sequence[Rule], plan: Plan) -> Judged:
    """What becomes of each connection."""
    hosts = {host.ip: host.name for host in plan.hosts}
    marks = {rule.mark for rule in rules if rule.action == "allow"}
    found = Judged()
    for each in connections:
        if not _allowed(each, tuple(rules), plan, hosts):
            found.cut.append(each)
        elif each.mark in marks:
            found.kept.append(each)
        else:
            found.anew.append(each)
    return found


def _allowed(each: Connection, rules: tuple[Rule, ...], plan: Plan, hosts: Mapping[str, str]) -> bool:
    if each.src not in hosts or each.dst not in hosts:
        return False
    return decide(rules, plan, hosts[each.src], hosts[each.dst], each.proto, each.asked).action == "allow"
