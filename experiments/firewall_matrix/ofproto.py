"""Oracle 3: Open vSwitch's own word about a packet, by ``ofproto/trace``: no packet is sent.

Packets that policy and proof treat alike are a class, and it is asked about one of each. Its text is read strictly:
anything that is not understood raises RefusedError. Whether a packet arrives is judged by the ports of the datapath
that it is put out of; the flows are shown to people only. The bridge that Open vSwitch names after the connection
tracker is the one by which the packet came into the datapath, so the zone says which one it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from controllers.compile import cookie_name
from controllers.ovs import vswitchd
from controllers.policy import Rule
from experiments.firewall_matrix.answers import KINDS, covered, segments
from experiments.firewall_matrix.evidence import INVALID, PairRow, TraceRow
from topo.errors import RefusedError
from topo.plan import Plan

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}
FIELDS = {"tcp": "tcp_flags=syn,tcp_src=20000,tcp_dst", "udp": "udp_src=20000,udp_dst", "icmp": "icmp_type"}

SECTION = re.compile(r"^=+\nrecirc\((0x[0-9a-f]+)\) - resume .*\n=+\n", re.MULTILINE)
BRIDGE = re.compile(r'^\s*bridge\("(.+)"\)$')
LOOKUP = re.compile(r"^\s*(\d+)\. (?:(.+), )?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$")
MISS = re.compile(r"^\s*(\d+)\. No match\.$")
NUMBERED = re.compile(r"^\s*\d+\. ")
ZONE = re.compile(r"\bct_zone=(\d+)")
ACTIONS = re.compile(r"^Datapath actions: (.+)$", re.MULTILINE)
WORD = re.compile(r"([a-z0-9_]+)(\(|,|$)")
PORT = re.compile(r"^\s*port (\d+): (\S+)", re.MULTILINE)
# the datapath's actions beside putting a packet out; in the brackets of some are actions too
OTHERS = {"drop", "ct", "recirc", "meter", "userspace", "set", "push_vlan", "pop_vlan", "ct_clear", "clone", "sample"}
WITHIN = re.compile(r"clone\((.*)\)|sample\(sample=[\d.]+%,actions\((.*)\)\)")


@dataclass(frozen=True)
class Question:
    """May such a packet pass? ``value``: TCP or UDP port, ICMP type, or protocol number for ``ip``.

    ``tracker``: each connection tracker's word, ``new`` or ``inv``; Open vSwitch does not ask a real one.
    """

    src: str
    dst: str
    kind: str
    value: int
    tracker: str = "new"


@dataclass(frozen=True)
class Traced:
    """``flow``: the flow that decided, in words: ``fw1: deny-rest: any, priority 0``."""

    question: Question
    arrives: bool
    flow: str


@dataclass(frozen=True)
class Met:
    """A flow that the packet met; ``match`` and ``cookie`` are None where a table had none for it."""

    switch: str
    table: int
    match: str | None
    priority: int
    cookie: int | None
    tracked: bool

    def text(self, rules: tuple[Rule, ...]) -> str:
        if self.match is None:
            return f"{self.switch}: no flow in table {self.table}"
        name = f"{cookie_name(self.cookie, rules)}: " if self.cookie is not None else ""
        return f"{self.switch}: {name}{self.match or 'any'}, priority {self.priority}"


@dataclass(frozen=True)
class Trace:
    """One answer: the datapath's ports that the packet is put out of, and every flow it met, in order."""

    outputs: frozenset[int]
    met: tuple[Met, ...]

    def deciding(self, arrives: bool) -> Met:
        """The last flow asked after the tracker, if it arrives: that was a rule's; else the one where it ended."""
        tracked = [met for met in self.met if met.tracked]
        return tracked[-1] if arrives and tracked else self.met[-1]


def classes(pair: PairRow) -> Iterator[tuple[str, int, int]]:
    """(kind, lowest value, highest value) between a pair of hosts; together all values."""
    for kind in KINDS:
        ruled = [row["values"] for row in pair["policy"] if row["kind"] == kind]
        for low, high in segments(kind, *ruled, pair["proof"].get(kind, ())):
            yield kind, low, high


def asked(plan: Plan, rules: tuple[Rule, ...], random: Random, pair: PairRow) -> list[TraceRow]:
    """Open vSwitch's word about each class of packets between a pair of hosts."""
    spans = list(classes(pair))
    questions = [_question(pair, kind, random.randint(low, high)) for kind, low, high in spans]
    return [
        {
            "kind": kind,
            "low": low,
            "high": high,
            "value": answer.question.value,
            "arrives": answer.arrives,
            "flow": answer.flow,
        }
        for (kind, low, high), answer in zip(spans, traced(plan, rules, questions), strict=True)
    ]


def _question(pair: PairRow, kind: str, value: int) -> Question:
    """A packet as the sweep sends it: the tracker is supposed to say of it what it says of that one."""
    invalid = [row["values"] for row in pair["policy"] if row["kind"] == kind and row["rule"] == INVALID]
    tracker = "inv" if any(covered(values, value) for values in invalid) else "new"
    return Question(pair["src"], pair["dst"], kind, value, tracker)


def traced(plan: Plan, rules: tuple[Rule, ...], questions: Sequence[Question]) -> list[Traced]:
    """Open vSwitch's word about each. Takes about 1 ms for each. Raises RefusedError when it is not understood."""
    ports = datapath_ports(vswitchd.tell("dpctl/show"))
    zones = {switch.number: switch.name for switch in plan.switches}
    return [_traced(plan, rules, ports, zones, question) for question in questions]


def _traced(
    plan: Plan, rules: tuple[Rule, ...], ports: Mapping[str, int], zones: Mapping[int, str], question: Question
) -> Traced:
    port = plan.links_of(question.dst)[0][1].interface
    if port not in ports:
        raise RefusedError(f"the datapath has no port {port}: nothing could be seen to arrive at {question.dst}")
    trace = parse(vswitchd.tell("ofproto/trace", *request(plan, question)), zones)
    arrives = ports[port] in trace.outputs
    return Traced(question, arrives, trace.deciding(arrives).text(rules))


def request(plan: Plan, question: Question) -> tuple[str, ...]:
    """The words of ``ofproto/trace``: where the packet comes in, the packet, each tracker's word."""
    first = plan.path(question.src, question.dst)[0]
    src, dst = plan.host(question.src), plan.host(question.dst)
    fields = (
        f"in_port={first.in_port},dl_src={src.mac},dl_dst={dst.mac},dl_type=0x0800,nw_src={src.ip},nw_dst={dst.ip}",
        f"nw_ttl=64,nw_proto={PROTOCOLS.get(question.kind, question.value)}",
        *([f"{FIELDS[question.kind]}={question.value}"] if question.kind in FIELDS else []),
    )
    trackers = plan.policed_by(question.src, question.dst)
    return (first.switch, ",".join(fields), *(("--ct-next", f"trk,{question.tracker}") * len(trackers)))


def datapath_ports(text: str) -> dict[str, int]:
    """The text of ``dpctl/show`` as interface -> number in the datapath."""
    ports = {name: int(number) for number, name in PORT.findall(text)}
    if not ports:
        raise RefusedError("no port of the datapath is known", detail=text)
    return ports


def parse(text: str, zones: Mapping[int, str]) -> Trace:
    """An answer of ``ofproto/trace``. ``zones``: the switch of each conntrack zone.

    Raises RefusedError for text that is not understood, and when the packet's fate is not in it.
    """
    try:
        return _parse(text, zones)
    except ValueError as error:
        raise RefusedError(f"an answer of ofproto/trace that is not understood: {error}", detail=text) from None


def _parse(text: str, zones: Mapping[int, str]) -> Trace:
    first, *rest = SECTION.split(text)
    if "Translation failed" in text:
        raise ValueError(text[text.index("Translation failed") :].strip())
    resumed, sections = rest[::2], [first, *rest[1::2]]
    actions = [word for section in sections for word in _actions(section)]
    promised = [word[7:-1] for word in actions if word.startswith("recirc(")]
    if sorted(promised) != sorted(resumed):
        raise ValueError(f"it goes on at {promised}, and shows {resumed}")
    met = tuple(flow for section in sections for flow in _met(section, zones))
    return Trace(frozenset(int(word) for word in actions if word.isdigit()), met)


def _actions(section: str) -> list[str]:
    if not section.lstrip().startswith("Flow: "):
        raise ValueError("a part without a packet")
    lines = ACTIONS.findall(section)
    if len(lines) != 1:
        raise ValueError(f"{len(lines)} lines of datapath actions in one part")
    return list(_words(lines[0]))


def _words(text: str) -> Iterator[str]:
    """Actions one by one, brackets kept together; those within a clone or a sample too."""
    at = 0
    while at < len(text):
        word = WORD.match(text, at)
        if word is None or not (word[1].isdigit() or word[1] in OTHERS):
            raise ValueError(f"action {text[at:]}")
        end = _closing(text, word.end()) if word[2] == "(" else word.end(1)
        yield text[at:end]
        if word[1] in ("clone", "sample"):
            within = WITHIN.fullmatch(text[at:end])
            if within is None:
                raise ValueError(f"action {text[at:end]}")
            yield from _words(within[1] or within[2] or "")
        if text[end : end + 1] not in ("", ","):
            raise ValueError(f"action {text[at:]}")
        at = end + 1


def _closing(text: str, at: int) -> int:
    """The place after the bracket that closes the one before ``at``."""
    depth = 1
    while depth:
        if at == len(text):
            raise ValueError("brackets that do not close")
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at


def _met(section: str, zones: Mapping[int, str]) -> Iterator[Met]:
    """The flows of one pass through the datapath."""
    switch, tracked, met = "", False, 0
    for line in section.splitlines():
        if named := BRIDGE.match(line):
            switch = named[1]
        elif line.strip() == "thaw":
            switch, tracked = _switch(section, zones), True
        elif lookup := LOOKUP.match(line):
            cookie = int(lookup[4], 16) if lookup[4] else None
            yield Met(switch, int(lookup[1]), lookup[2] or "", int(lookup[3]), cookie, tracked)
            tracked, met = False, met + 1
        elif missed := MISS.match(line):
            yield Met(switch, int(missed[1]), None, 0, None, tracked)
            tracked, met = False, met + 1
        elif NUMBERED.match(line):
            raise ValueError(line)
    if not met:
        raise ValueError("no flow is shown")


def _switch(section: str, zones: Mapping[int, str]) -> str:
    """The switch where a pass goes on that comes from a connection tracker."""
    zone = ZONE.search(section)
    if zone is None or int(zone[1]) not in zones:
        raise ValueError(f"it goes on in zone {zone[1] if zone else 'unknown'}")
    return zones[int(zone[1])]
