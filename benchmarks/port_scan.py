"""The time to find out which of all TCP ports are open between two hosts: ours, and nmap's."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, columns, say
from testbed.body import Body
from topo import folders
from topo.errors import EXIT_HOLDS, FoobarError
from topo.plan import ATTACKER, BALANCER, plan
from topo.profile import SEED

if TYPE_CHECKING:
    from testbed.testbed import Testbed

OURS, NMAP = "sweep", "nmap -sS -p- -T5"
# nmap at its boldest; by itself it takes minutes where nothing answers
BOLD = ("-T5", "--min-rate", "20000")
SRC, DST = (plan(SEED).host_of(role).name for role in (ATTACKER, BALANCER))
PORTS = 65535
SECONDS = 600.0
REACHED = re.compile(r"^(\d+)/tcp +(?:open|closed) ", re.MULTILINE)

Scan = Callable[[], set[int]]


class PortScan(Benchmark):
    """The attacker scans the balancer, through the firewalls, in turns with both."""

    name = "firewall_matrix"
    programs: Mapping[str, str] = {"nmap": "nmap"}

    def measure(self, size: Size, tell: Tell) -> Report:
        return report(child.result(self.name, size, tell))

    def body(self, size: Size) -> Body:
        return PortScanBody(size)


def report(answers: Mapping[str, Any]) -> Report:
    """Series from ``rows``, the seconds of each scan, a row per pair; ``plain``: those of nmap left to itself."""
    ours, reference = columns(answers["rows"], OURS), columns(answers["rows"], NMAP)
    quick, slow = (tuple(PORTS / seconds for seconds in times) for times in (ours, reference))
    return Report(
        (
            PairedSeries("all ports", "s", ours, reference, NMAP, Target("ratio", "<=", 0.2)),
            PairedSeries("probes per second", "1/s", quick, slow, NMAP, Target("ratio", ">=", 5)),
        ),
        tuple(
            f"firewall_matrix: nmap -sS -p- left to itself took {seconds:.0f} s, once" for seconds in answers["plain"]
        ),
    )


class PortScanBody(Body):
    """Both scans in turns. Raises FoobarError when they do not find the same ports."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        scans: dict[str, Scan] = {OURS: lambda: _swept(testbed), NMAP: lambda: _mapped(testbed, *BOLD)}
        rows: list[dict[str, float]] = []
        order = list(scans)
        for pair in range(self.size.pairs):
            say("progress", f"pair {pair + 1} of {self.size.pairs}")
            rows.append(_timed({name: scans[name] for name in order}))
            order.reverse()
        say("progress", "nmap -sS -p- left to itself, once")
        plain = [_timed({**scans, NMAP: lambda: _mapped(testbed)})[NMAP]] if self.size.pairs > 1 else []
        say("result", {"rows": rows, "plain": plain})
        return EXIT_HOLDS


def _timed(scans: Mapping[str, Scan]) -> dict[str, float]:
    taken, ports = {}, {}
    for name, scan in scans.items():
        began = time.monotonic()
        ports[name] = scan()
        taken[name] = time.monotonic() - began
    if ports[OURS] != ports[NMAP]:
        raise FoobarError(f"{OURS} reaches {sorted(ports[OURS])}, but {NMAP} {sorted(ports[NMAP])}")
    return taken


def _swept(testbed: Testbed) -> set[int]:
    """Everything included: crafting, the captures, sending, counting, and finding the probes again."""
    from experiments.engine.run import Run
    from experiments.firewall_matrix.sweep import Sweep, sweep

    ends = testbed.plan.host(SRC), testbed.plan.host(DST)
    with folders.opened(testbed.home) as home, home.temporary() as folder:
        (found,) = sweep(testbed, Run(folder, seed=1), [Sweep(*ends, {"tcp": ((1, PORTS),)})])
    if not found.exact:
        raise FoobarError(f"{found.lost} probes were lost")
    return {port for low, high in found.arrived["tcp"] for port in range(low, high + 1)}


def _mapped(testbed: Testbed, *options: str) -> set[int]:
    """The ports that nmap calls open or closed: these have answered, so they were reached."""
    command = ["nmap", "-sS", "-p-", "-Pn", "-n", *options, "-oN", "-", testbed.plan.host(DST).ip]
    done = testbed.inside(SRC).run(command, seconds=SECONDS)
    if done.returncode:
        raise FoobarError(f"nmap: exit status {done.returncode}", detail=done.stderr)
    return {int(port) for port in REACHED.findall(done.stdout)}
