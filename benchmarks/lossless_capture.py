"""Capturing at full HTTPS load without losing a packet, and searching what was captured, beside Scapy."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import child, sniff
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, columns, say
from benchmarks.https import ASKED, rate
from benchmarks.sniff import CANARY
from experiments.instruments.capture import capturing, planting
from experiments.instruments.search import Search
from experiments.wire.pcap import first_frame, place
from testbed.body import Body
from testbed.namespaces import Inside
from topo import folders, wait
from topo.errors import EXIT_HOLDS, FoobarError
from topo.folders import Folder
from topo.paths import PROJECT
from topo.plan import BALANCER, CLIENT, plan
from topo.profile import SEED

if TYPE_CHECKING:
    from testbed.testbed import Testbed

OURS, SCAPY, STREAMS = "dumpcap", "Scapy", "Scapy, streams"
#: the links under load: the visitor's, and the balancer's, which carries everything twice
HOSTS = tuple(plan(SEED).host_of(role).name for role in (CLIENT, BALANCER))
CANARIES_PER_SECOND = 500
#: frames of a capture that are searched and dissected
FRAMES = 10_000
SECRETS = 10
END_SECONDS = 20.0


class LosslessCapture(Benchmark):
    """wrk asks for a file as fast as it can while numbered canaries are sent on the links that are captured."""

    name = "capture"
    programs: Mapping[str, str] = {"wrk": "wrk"}

    def measure(self, size: Size, tell: Tell) -> Report:
        return report(child.result(self.name, size, tell))

    def body(self, size: Size) -> Body:
        return CaptureBody(size)


def report(rows: Sequence[Mapping[str, Any]]) -> Report:
    """Series from what the body found: of each pair ``seen`` and ``speed``, by variant."""
    seen = {way: [row["seen"][way] for row in rows] for way in (OURS, SCAPY)}
    # counted over all pairs: a median would hide a single one
    lost = {way: (float(sum(count["lost"] for count in found)),) * len(rows) for way, found in seen.items()}
    speed = [row["speed"] for row in rows]
    none, much = Target("ours", "<=", 0), Target("ratio", ">=", 20)
    return Report(
        (
            PairedSeries("lost packets", "", lost[OURS], lost[SCAPY], "Scapy's sniffing", none),
            PairedSeries(
                "search / packets", "1/s", columns(speed, OURS), columns(speed, SCAPY), "Scapy's dissection", much
            ),
            PairedSeries(
                "search / streams",
                "1/s",
                columns(speed, OURS),
                columns(speed, STREAMS),
                "Scapy's dissection of HTTP",
                much,
            ),
        ),
        notes=tuple(f"capture: with {way}: {_amount(found)}" for way, found in seen.items()),
    )


def _amount(answers: Sequence[Mapping[str, Any]]) -> str:
    sent, requests = (sum(count[what] for count in answers) for what in ("sent", "requests"))
    return f"{sent} canaries on {len(HOSTS)} links, beside {requests / len(answers):.0f} requests a second"


class CaptureBody(Body):
    """Each pair: the load with dumpcap and the load with Scapy, then both ways through dumpcap's file."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        folder = folders.opened(testbed.home / "captures", make=True)
        places = [testbed.inside(name) for name in HOSTS]
        ways: dict[str, Callable[[], CanaryCount]] = {
            OURS: lambda: dumped(places, folder, self.size.seconds),
            SCAPY: lambda: sniffed(places, self.size.seconds),
        }
        rows, order = [], list(ways)
        for pair in range(self.size.pairs):
            say("progress", f"pair {pair + 1} of {self.size.pairs}")
            seen = {way: ways[way]().row() for way in order}
            rows.append({"seen": seen, "speed": speeds(folder.read(f"{HOSTS[-1]}.pcap"))})
            order.reverse()
        say("result", rows)
        return EXIT_HOLDS


@dataclass(frozen=True)
class CanaryCount:
    """Canaries sent and seen on all links, packets that the kernel says it dropped, and requests a second meanwhile."""

    sent: int
    canaries: int
    dropped: int
    requests: float

    def row(self) -> dict[str, float]:
        return {"sent": self.sent, "lost": self.sent - self.canaries + self.dropped, "requests": self.requests}


def dumped(places: Sequence[Inside], folder: Folder, seconds: float) -> CanaryCount:
    """As experiments capture. Raises FoobarError when a capture is inconclusive."""
    with capturing([(inside, link(inside)) for inside in places], folder) as captures:
        sent, requests = load(places, seconds)
    dropped = 0
    for capture in captures:
        if capture.dropped is None:
            raise FoobarError(f"the capture on {capture.interface} did not see its end canary")
        dropped += capture.dropped
    canaries = sum(len(set(CANARY.findall(capture.file.read_bytes()))) for capture in captures)
    return CanaryCount(sent, canaries, dropped, requests)


def sniffed(places: Sequence[Inside], seconds: float) -> CanaryCount:
    """As many people do it: Scapy, live, in a process for each link."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_sniffer(inside)) for inside in places]
        for process in processes:
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
        sent, requests = load(places, seconds)
        canaries = sum(_ended(place, process) for place, process in zip(places, processes, strict=True))
    return CanaryCount(sent, canaries, 0, requests)


def _sniffer(inside: Inside) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "benchmarks.sniff", link(inside))
    return inside.popen(command, environment={"PYTHONPATH": str(PROJECT)}, stdout=subprocess.PIPE, text=True)


def _ended(inside: Inside, process: subprocess.Popen[str]) -> int:
    """The number of canaries it has seen. A frame tells it to end, and again until it does."""
    with planting(inside, link(inside)) as plant:

        def look() -> str | None:
            plant(sniff.END)
            return "still reading" if process.poll() is None else None

        wait.until(look, what="Scapy's sniffing at its end", seconds=END_SECONDS)
    assert process.stdout is not None
    return int(process.stdout.read())


def link(inside: Inside) -> str:
    """A host's interface."""
    return f"{inside.name}-eth0"


def load(places: Sequence[Inside], seconds: float) -> tuple[int, float]:
    """wrk on the first place, numbered canaries on all; returns how many were sent in all, and requests a second."""
    over = threading.Event()
    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        sending = [pool.submit(send, inside, over) for inside in places]
        try:
            requests = rate(places[0], seconds, ASKED["static file"])
        finally:
            over.set()
        return sum(sent.result() for sent in sending), requests


def send(inside: Inside, over: threading.Event) -> int:
    """Send numbered canaries out of a host's interface until it is over; returns how many."""
    number = 0
    with planting(inside, link(inside)) as plant:
        while not over.wait(1 / CANARIES_PER_SECOND):
            plant(sniff.canary(number))
            number += 1
    return number


def speeds(content: bytes) -> dict[str, float]:
    """Packets a second: searched for every form of some secrets; dissected, without looking for anything, each packet
    by itself and in streams.

    One secret is a canary of the capture. Raises FoobarError when that is not what the search finds, and all.
    """
    content = content[: place(content, FRAMES + 1)]
    chance = random.Random(0)
    (planted, *_) = CANARY.findall(content)
    secrets = [("planted", planted.decode())]
    secrets += [(f"{number}", f"secret & {chance.getrandbits(96):x}") for number in range(SECRETS - 1)]
    frames = first_frame(content, math.inf) - 1
    search = Search(secrets)
    for way in (sniff.dissected, sniff.reassembled):
        way(content[: place(content, 2)])  # so that importing Scapy is not timed
    began = time.perf_counter()
    secrets_found = {hit.secret for hit in search.capture(content).hits}
    searched = time.perf_counter()
    dissected = sniff.dissected(content)
    ended = time.perf_counter()
    answers = sniff.reassembled(content)
    last = time.perf_counter()
    if secrets_found != {"planted"} or dissected != frames or not answers:
        said = f"of {frames} frames Scapy dissected {dissected}, with {answers} answers in them"
        raise FoobarError(f"{said}, and the search found {sorted(secrets_found)}")
    return {OURS: frames / (searched - began), SCAPY: frames / (ended - searched), STREAMS: frames / (last - ended)}
