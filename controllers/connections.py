"""What the connection tracker knows, and which of it another policy would not have let begin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controllers.policy import Rule, decide
from topo.plan import Plan

LINE = re.compile(r"^(?P<proto>\w+),orig=\((?P<orig>[^)]*)\),reply=\([^)]*\)(?:,zone=(?P<zone>\d+))?")
MARK = re.compile(r",mark=(\d+)")
NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}


@dataclass(frozen=True)
class Connection:
    """One entry: who began it with whom; ``ports`` are as dumped: sport and dport, or id, type and code."""

    zone: int
    mark: int
    proto: str
    src: str
    dst: str
    ports: tuple[tuple[str, int], ...]

    @property
    def asked(self) -> int:
        """The destination's port, or the type of ICMP."""
        ports = dict(self.ports)
        return ports.get("type" if self.proto == "icmp" else "dport", 0)

    def words(self) -> tuple[str, str]:
        """The entry as ``dpctl/flush-conntrack`` is told it."""
        names = {"sport": "ct_tp_src", "dport": "ct_tp_dst", "id": "icmp_id", "type": "icmp_type", "code": "icmp_code"}
        fields = [f"ct_nw_src={self.src}", f"ct_nw_dst={self.dst}", f"ct_nw_proto={NUMBERS[self.proto]}"]
        return f"zone={self.zone}", ",".join([*fields, *(f"{names[name]}={value}" for name, value in self.ports)])


def parse(text: str) -> list[Connection]:
    """The entries of ``dpctl/dump-conntrack`` for the protocols that rules name."""
    made = []
    for line in text.splitlines():
        found = LINE.match(line)
        if not found or found["proto"] not in NUMBERS:
            continue
        fields = dict(part.split("=") for part in found["orig"].split(","))
        mark = MARK.search(line)
        ports = tuple((name, int(value)) for name, value in fields.items() if name not in ("src", "dst"))
        zone = int(found["zone"] or 0)
        made.append(Connection(zone, int(mark[1]) if mark else 0, found["proto"], fields["src"], fields["dst"], ports))
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
