"""Sending sweeps, and finding out where each probe ended: at a host, or counted by a flow that drops.

Each link is filled as fast as its switch empties it (pump.py); dumpcap listens at every host. A probe that neither
arrived nor was counted got lost on the way, so its sweep proves nothing and is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from controllers.ovs import ofctl, vswitchd
from experiments.firewall_matrix import counters, sweepframes
from experiments.firewall_matrix.answers import BEGINS, EVERYTHING, KINDS, Answer, covered, total
from experiments.firewall_matrix.counters import Counted
from experiments.firewall_matrix.sweepframes import FORMS, SOURCE_PORT, Arrivals
from experiments.instruments.capture import Capture, capturing
from experiments.instruments.sender import pump
from topo.errors import FoobarError
from topo.plan import Host

if TYPE_CHECKING:
    from experiments.engine.run import Progress, Run
    from testbed.testbed import Testbed

ATTEMPTS = 3
PORTED = {"tcp": 6, "udp": 17}


@dataclass(frozen=True)
class Sweep:
    """Probes to be sent from one host to another: every value of every kind, or these."""

    src: Host
    dst: Host
    values: Answer


@dataclass(frozen=True)
class Swept:
    """Where the probes of one sweep ended.

    ``arrived``: values, seen at the destination in ``arrivals`` packets. ``strays``: packets seen at another host than
    the one they are for. ``stopped``: switch -> name of a flow that drops -> packets. ``blind``: hosts whose capture
    lost something. ``duration_s`` is the sending alone.
    """

    src: str
    dst: str
    values: Answer
    probes: int
    arrived: Answer
    arrivals: int
    strays: Mapping[str, int]
    stopped: Mapping[str, Mapping[str, int]]
    blind: tuple[str, ...]
    attempt: int
    duration_s: float

    @property
    def lost(self) -> int:
        """Probes that nobody knows about; below 0 when somebody else's packets were counted too."""
        return self.probes - self.arrivals - counters.packets(self.stopped.values())

    @property
    def exact(self) -> bool:
        """Whether every single probe is accounted for."""
        return not self.lost and not self.blind

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def everything(src: Host, dst: Host) -> Sweep:
    """Every port, type and protocol."""
    return Sweep(src, dst, EVERYTHING)


def sweep(testbed: Testbed, run: Run, sweeps: Sequence[Sweep], attempts: int = ATTEMPTS) -> list[Swept]:
    """Send them all; those that are not exact again. The last attempt of each counts."""
    done: dict[int, Swept] = {}
    left = list(range(len(sweeps)))
    first = run.random.randrange(1, 60_000)
    for attempt in range(1, attempts + 1):
        if not left:
            break
        now = [sweeps[each] for each in left]
        with run.phase(f"{sum(total(each.values) for each in now)} probes", total=len(now)) as progress:
            found = _sweep(testbed, run.folder, now, first + attempt, attempt, progress)
        done |= dict(zip(left, found, strict=True))
        left = [each for each in left if not done[each].exact]
    return [done[each] for each in range(len(sweeps))]


def _sweep(
    testbed: Testbed, folder: Path, sweeps: Sequence[Sweep], marker: int, attempt: int, progress: Progress
) -> list[Swept]:
    sent = []
    # millions of equal frames, which nobody keeps: what arrived is in the evidence
    with TemporaryDirectory(dir=folder) as captured:
        with listening(testbed, Path(captured), marker, marker) as captures:
            vswitchd.settle_counters()  # or the first sweep is said to have sent what came before it
            for each in sweeps:
                sent.append(_sent(testbed, each, marker))
                progress.advance(1)
        seen = {capture.inside.name: sweepframes.read(capture.file) for capture in captures}
    blind = tuple(capture.inside.name for capture in captures if capture.dropped != 0)
    return [_swept(each, seen, blind, marker, attempt) for each in sent]


@contextmanager
def listening(testbed: Testbed, folder: Path, first: int, last: int) -> Iterator[list[Capture]]:
    """Capture at every host the probes with these markers that others have sent, whomever they are for."""
    hosts = testbed.plan.hosts
    lowest, highest = min(form.ttl for form in FORMS.values()), max(form.ttl for form in FORMS.values())
    probes = f"ip[8] >= {lowest} and ip[8] <= {highest} and ip[4:2] >= {first} and ip[4:2] <= {last}"
    only = {host.name: f"ip and not ether src {host.mac} and {probes}" for host in hosts}
    with capturing([(testbed.inside(host.name), host.interface) for host in hosts], folder, only) as captures:
        yield captures


@dataclass(frozen=True)
class Sent:
    """A sweep that has been sent, and what the switches counted meanwhile."""

    sweep: Sweep
    probes: int
    counted: Mapping[str, Counted]
    duration_s: float


def _sent(testbed: Testbed, sweep: Sweep, marker: int) -> Sent:
    src, dst = sweep.src, sweep.dst
    crafted = [sweepframes.frames(src, dst, kind, marker, sweep.values.get(kind, ())) for kind in KINDS]
    switches = [hop.switch for hop in testbed.plan.path(src.name, dst.name)]
    (_, end), *_ = testbed.plan.links_of(src.name)
    before = _counters(testbed, switches)
    began = time.monotonic()
    pump(testbed.inside(src.name), src.interface, b"".join(each.tobytes() for each in crafted), end.interface)
    duration = time.monotonic() - began
    vswitchd.settle_counters()
    found = {switch: now.since(before[switch]) for switch, now in _counters(testbed, switches).items()}
    _forget(testbed, sweep, found)
    return Sent(sweep, sum(map(len, crafted)), found, duration)


def _counters(testbed: Testbed, switches: Sequence[str]) -> dict[str, Counted]:
    return {switch: counters.counted(ofctl.dump_flows(switch), testbed.rules) for switch in switches}


def _forget(testbed: Testbed, sweep: Sweep, found: Mapping[str, Counted]) -> None:
    """End the conversations that the probes began: a probe the other way would be taken for an answer in them."""
    for name, counted in found.items():
        for each in _tuples(sweep, counted):
            with suppress(FoobarError):  # there is none, or an older Open vSwitch wants to be told the whole tuple
                vswitchd.tell("dpctl/flush-conntrack", f"zone={testbed.plan.switch(name).number}", each)


def _tuples(sweep: Sweep, counted: Counted) -> Iterator[str]:
    """What a tracker may know of these probes. ICMP's have an identity for each direction: they answer nothing."""
    ends = f"ct_nw_src={sweep.src.ip},ct_nw_dst={sweep.dst.ip}"
    for kind, number in PORTED.items():
        if counted.begun[kind] or counted.begun["ip"]:
            yield f"{ends},ct_nw_proto={number},ct_tp_src={SOURCE_PORT}"
    if counted.begun["ip"]:
        for number in range(1, 256):
            if covered(BEGINS["ip"], number) and covered(sweep.values.get("ip", ()), number):
                yield f"{ends},ct_nw_proto={number}"


def _swept(sent: Sent, seen: Mapping[str, Arrivals], blind: tuple[str, ...], marker: int, attempt: int) -> Swept:
    src, dst = sent.sweep.src, sent.sweep.dst
    found = {kind: seen[dst.name].of(src, dst, marker, kind) for kind in KINDS}
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
        arrived={kind: values for kind, (_, values) in found.items()},
        arrivals=sum(number for number, _ in found.values()),
        strays={host: number for host, number in elsewhere.items() if number},
        stopped=counters.drops(sent.counted),
        blind=blind,
        attempt=attempt,
        duration_s=round(sent.duration_s, 3),
    )
