"""Sweeps of probes: sent, and each probe accounted for: it arrived at a host, or a flow that drops has counted it.

Each link is filled as fast as its switch empties it (instruments/packetsockets.py); dumpcap listens at every host. A
probe that neither arrived nor was counted was lost on the way, so its sweep proves nothing and is sent again.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from controllers.compile import cookie_name
from controllers.ovs import ofctl, vswitchd
from controllers.policy import Rule
from experiments.firewall_matrix import answers, sweepframes
from experiments.firewall_matrix.answers import BEGINS, DISPUTED, KINDS, covered, total, union
from experiments.firewall_matrix.evidence import INVALID, Answer, Stopped
from experiments.firewall_matrix.sweepframes import FORMS, LENGTH, SOURCE_PORT, Arrivals
from experiments.instruments.capture import Capture, capturing
from experiments.instruments.packetsockets import send_paced
from topo.errors import FoobarError
from topo.folders import Folder
from topo.plan import Host

if TYPE_CHECKING:
    from experiments.engine.run import Progress, Run
    from testbed.testbed import Testbed

ATTEMPTS = 3
PORTED = {"tcp": 6, "udp": 17}

LINE = re.compile(r"cookie=(0x[0-9a-f]+),.*?n_packets=(\d+),(.*)actions=(.*)")
PROTOCOL = re.compile(r",(tcp|udp|icmp)\b")
# an action that leads a packet on; what has none of these drops it, whatever it tells the controller
GOES_ON = re.compile(r"goto_table:|output:|ct\(|resubmit|group:|NORMAL|FLOOD|LOCAL|IN_PORT|\bALL\b")


@dataclass(frozen=True)
class FlowCounts:
    """A switch's counters. ``dropped``: packets, by the flow's or the rule's name.

    ``begun``: packets that a flow let begin a conversation, by the protocol that it asks for; "ip" where it asks for
    none.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    begun: Counter[str] = field(default_factory=Counter)

    def since(self, before: FlowCounts) -> FlowCounts:
        """The packets that came in between."""
        return FlowCounts(self.dropped - before.dropped, self.begun - before.begun)


def counted(dump: str, rules: tuple[Rule, ...]) -> FlowCounts:
    """The counters of one switch, from its ``dump-flows``."""
    dropped: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    for cookie, packets, match, actions in LINE.findall(dump):
        if "ct(commit" in actions:
            protocol = PROTOCOL.search(match)
            begun[protocol[1] if protocol else "ip"] += int(packets)
        elif not GOES_ON.search(actions):
            dropped[cookie_name(int(cookie, 16), rules)] += int(packets)
    return FlowCounts(dropped, begun)


def drops(counted: Mapping[str, FlowCounts]) -> dict[str, dict[str, int]]:
    """Switch -> name -> packets, of those that dropped any."""
    return {switch: dict(counters.dropped) for switch, counters in counted.items() if counters.dropped}


@dataclass(frozen=True)
class Sweep:
    """Probes to be sent from one host to another: every value of every kind, or these."""

    src: Host
    dst: Host
    values: Answer


@dataclass(frozen=True)
class Swept:
    """The account of one sweep's probes.

    ``arrived``: values, seen at the destination in ``arrivals`` packets. ``strays``: packets seen at another host than
    the one they are for. ``stopped``: switch -> name of a flow that drops -> packets. ``inconclusive``: hosts whose
    capture lost packets. ``duration_s`` is the sending alone.
    """

    src: str
    dst: str
    values: Answer
    probes: int
    arrived: Answer
    arrivals: int
    strays: Mapping[str, int]
    stopped: Stopped
    inconclusive: tuple[str, ...]
    attempt: int
    duration_s: float

    @property
    def lost(self) -> int:
        """Probes that are not accounted for; below 0 when other packets were counted too."""
        return self.probes - self.arrivals - sum(sum(names.values()) for names in self.stopped.values())

    @property
    def exact(self) -> bool:
        """Is every single probe accounted for?"""
        return not self.lost and not self.inconclusive

    def as_dict(self) -> Any:
        """A SweepRow of the evidence."""
        return asdict(self)


def sweep(testbed: Testbed, run: Run, sweeps: Sequence[Sweep], attempts: int = ATTEMPTS) -> list[Swept]:
    """Send them all; those that are not exact again. The last attempt of each counts."""
    done: dict[int, Swept] = {}
    left = list(range(len(sweeps)))
    first = run.random.randrange(1, 60_000)
    for attempt in range(1, attempts + 1):
        if not left:
            break
        now = [sweeps[number] for number in left]
        with run.phase(f"{sum(total(sweep.values) for sweep in now)} probes", total=len(now)) as progress:
            swept = _sweep(testbed, run.folder, now, first + attempt, attempt, progress)
        done |= dict(zip(left, swept, strict=True))
        left = [number for number in left if not done[number].exact]
    return [done[number] for number in range(len(sweeps))]


def detect_begins(testbed: Testbed, run: Run, src: Host, dst: Host) -> Answer:
    """The values that begin a conversation for this testbed's connection trackers, which are asked where they differ.

    The others count as invalid what comes from one host to the other.
    """
    disputed = [(kind, value) for kind in KINDS for span in DISPUTED[kind] for value in range(span[0], span[1] + 1)]
    swept = sweep(testbed, run, [Sweep(src, dst, {kind: ((value, value),)}) for kind, value in disputed])
    new = [
        asked
        for asked, account in zip(disputed, swept, strict=True)
        if not any(INVALID in names for names in account.stopped.values())
    ]
    return answers.begins({kind: union((value, value) for asked, value in new if asked == kind) for kind in KINDS})


def _sweep(
    testbed: Testbed, folder: Folder, sweeps: Sequence[Sweep], marker: int, attempt: int, progress: Progress
) -> list[Swept]:
    sent = []
    # millions of equal frames, which are not kept: what arrived is in the evidence
    with folder.temporary() as captured:
        with listening(testbed, captured, marker) as captures:
            vswitchd.settle_counters()  # or the first sweep is said to have sent what came before it
            for sweep in sweeps:
                sent.append(_sent(testbed, sweep, marker))
                progress.advance(1)
        seen = {capture.inside.name: sweepframes.read(capture.file) for capture in captures}
    inconclusive = tuple(capture.inside.name for capture in captures if capture.dropped != 0)
    return [_swept(sweep, seen, inconclusive, marker, attempt) for sweep in sent]


@contextmanager
def listening(testbed: Testbed, folder: Folder, marker: int) -> Iterator[list[Capture]]:
    """Capture at every host the probes with this marker that others have sent, also those for other hosts."""
    hosts = testbed.plan.hosts
    lowest, highest = min(form.ttl for form in FORMS.values()), max(form.ttl for form in FORMS.values())
    probes = f"ip[8] >= {lowest} and ip[8] <= {highest} and ip[4:2] == {marker}"
    # a stranger's frame of another length, with a probe's mark, would make the file no array
    only = {host.name: f"ip and len == {LENGTH} and not ether src {host.mac} and {probes}" for host in hosts}
    with capturing([(testbed.inside(host.name), host.interface) for host in hosts], folder, only) as captures:
        yield captures


@dataclass(frozen=True)
class Sent:
    """A sweep that has been sent, and the packets that the switches counted meanwhile."""

    sweep: Sweep
    probes: int
    counted: Mapping[str, FlowCounts]
    duration_s: float


def _sent(testbed: Testbed, sweep: Sweep, marker: int) -> Sent:
    src, dst = sweep.src, sweep.dst
    crafted = [sweepframes.frames(src, dst, kind, marker, sweep.values.get(kind, ())) for kind in KINDS]
    switches = [hop.switch for hop in testbed.plan.path(src.name, dst.name)]
    (_, end), *_ = testbed.plan.links_of(src.name)
    before = _counters(testbed, switches)
    began = time.monotonic()
    frames = b"".join(frame.tobytes() for frame in crafted)
    send_paced(testbed.inside(src.name), src.interface, frames, LENGTH, end.interface)
    duration = time.monotonic() - began
    vswitchd.settle_counters()
    meanwhile = {switch: now.since(before[switch]) for switch, now in _counters(testbed, switches).items()}
    _forget(testbed, sweep, meanwhile)
    return Sent(sweep, sum(map(len, crafted)), meanwhile, duration)


def _counters(testbed: Testbed, switches: Iterable[str]) -> dict[str, FlowCounts]:
    return {switch: counted(ofctl.dump_flows(switch), testbed.rules) for switch in switches}


def _forget(testbed: Testbed, sweep: Sweep, counters: Mapping[str, FlowCounts]) -> None:
    """End the conversations that the probes began: a probe the other way would be taken for an answer in them."""
    for switch, counted in counters.items():
        for connection in tuples(sweep, counted):
            with suppress(FoobarError):  # there is none, or an older Open vSwitch wants to be told the whole tuple
                vswitchd.tell("dpctl/flush-conntrack", f"zone={testbed.plan.switch(switch).number}", connection)


def tuples(sweep: Sweep, counted: FlowCounts) -> Iterator[str]:
    """Entries that some tracker may hold for these probes. ICMP's have an identity a direction: they answer nothing.

    And no others: Open vSwitch 3.5 dies when it is told of TCP, UDP or ICMP without their fields.
    """
    ends = f"ct_nw_src={sweep.src.ip},ct_nw_dst={sweep.dst.ip}"
    for kind, number in PORTED.items():
        if counted.begun[kind] or counted.begun["ip"]:
            yield f"{ends},ct_nw_proto={number},ct_tp_src={SOURCE_PORT}"
    if counted.begun["ip"]:
        for number in range(1, 256):
            if covered(BEGINS["ip"], number) and covered(sweep.values.get("ip", ()), number):
                yield f"{ends},ct_nw_proto={number}"


def _swept(sent: Sent, seen: Mapping[str, Arrivals], inconclusive: tuple[str, ...], marker: int, attempt: int) -> Swept:
    src, dst = sent.sweep.src, sent.sweep.dst
    at_dst = {kind: seen[dst.name].of(src, dst, marker, kind) for kind in KINDS}
    elsewhere = {
        host: sum(arrivals.of(src, dst, marker, kind)[0] for kind in KINDS)
        for host, arrivals in seen.items()
        if host != dst.name
    }
    return Swept(
        src=src.name,
        dst=dst.name,
        values=sent.sweep.values,
        probes=sent.probes,
        arrived={kind: values for kind, (_, values) in at_dst.items()},
        arrivals=sum(number for number, _ in at_dst.values()),
        strays={host: number for host, number in elsewhere.items() if number},
        stopped=drops(sent.counted),
        inconclusive=inconclusive,
        attempt=attempt,
        duration_s=round(sent.duration_s, 3),
    )
