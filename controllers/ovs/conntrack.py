"""The connection tracker's entries, and those of them that another policy would not have let begin."""

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
    """One entry; ``src`` is the host that began it. ``number``: the protocol's; ``ports``, only of the protocols that
    rules name, are as dumped: sport and dport, or id, type and code.
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
        entry = LINE.match(line)
        if not entry:
            continue
        named = entry["proto"]
        number = NUMBERS.get(named) or int(named)
        fields = dict(part.split("=") for part in entry["orig"].split(","))
        src, dst = fields.pop("src"), fields.pop("dst")
        ports = tuple((name, int(value)) for name, value in fields.items()) if named in PROTO_NUMBERS else ()
        mark = MARK.search(line)
        made.append(Connection(int(entry["zone"] or 0), int(mark[1]) if mark else 0, number, src, dst, ports))
    return made


@dataclass
class Judged:
    """Connections under another policy.

    ``kept`` go on as they are; ``cut``: the policy would not have let them begin; ``anew``: another of its rules allows
    them, and they get that rule's mark as soon as the host that began them sends again.
    """

    kept: list[Connection] = field(default_factory=list)
    cut: list[Connection] = field(default_factory=list)
    anew: list[Connection] = field(default_factory=list)


def judged(connections: Iterable[Connection], rules: Sequence[Rule], plan: Plan) -> Judged:
    """Sort connections by what another policy does with them."""
    hosts = {host.ip: host.name for host in plan.hosts}
    marks = {rule.mark for rule in rules if rule.action == "allow"}
    sorted_out = Judged()
    for connection in connections:
        if not _allowed(connection, tuple(rules), plan, hosts):
            sorted_out.cut.append(connection)
        elif connection.mark in marks:
            sorted_out.kept.append(connection)
        else:
            sorted_out.anew.append(connection)
    return sorted_out


def _allowed(connection: Connection, rules: tuple[Rule, ...], plan: Plan, hosts: Mapping[str, str]) -> bool:
    if connection.src not in hosts or connection.dst not in hosts:
        return False
    src, dst = hosts[connection.src], hosts[connection.dst]
    return decide(rules, plan, src, dst, connection.proto, connection.asked).action == "allow"
