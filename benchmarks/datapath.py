"""The firewalled path against a Linux bridge without a firewall, and against Mininet's own userspace datapath."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, columns, say
from testbed.body import Body
from testbed.namespaces import Inside
from topo import wait
from topo.errors import EXIT_HOLDS, FoobarError
from topo.paths import BOX

if TYPE_CHECKING:
    from testbed.testbed import Testbed

TESTBED, BRIDGE, MININET = "testbed", "linux bridge", "mininet datapath=user, tx off"
PINGPONG = str(Path(__file__).parent / "pingpong.py")
# the policy lets the balancer talk to this port of a server, whatever listens there
PORT = 80
LISTENING = "0A"
FIRST, *_, LAST = (*sorted(os.sched_getaffinity(0)), max(os.sched_getaffinity(0)))


class Datapath(Benchmark):
    """TCP throughput and 64-byte round trips from the balancer to a server: the policy's rule ``web``."""

    name = "datapath"
    programs: Mapping[str, str] = {"iperf3": "iperf3", "ethtool": "ethtool", "taskset": "util-linux"}

    def measure(self, size: Size, tell: Tell) -> Report:
        return report(child.result(self.name, size, tell))

    def body(self, size: Size) -> Body:
        return Paths(size)


def report(answers: Mapping[str, Any]) -> Report:
    """Series from what the body found: ``throughput``, ``round trips`` and ``bad checksums``, each a row per pair."""
    wants = {BRIDGE: Target("ratio", ">=", 0.70), MININET: Target("ratio", ">=", 10)}
    series = [
        _series(answers, measure, f"{measure} / {short}", unit, reference, wants[reference])
        for measure, unit in (("throughput", "Gb/s"), ("round trips", "1/s"))
        for reference, short in ((BRIDGE, "bridge"), (MININET, "mininet"))
    ]
    # counted over all pairs: a median would hide a single one
    bad = {variant: sum(columns(answers["bad checksums"], variant)) for variant in (TESTBED, BRIDGE, MININET)}
    totals = {**answers, "bad checksums": [bad for _ in answers["bad checksums"]]}
    series.append(_series(totals, "bad checksums", "bad checksums", "segments", BRIDGE, Target("ours", "<=", 0)))
    counted = ", ".join(f"{variant} {count:g}" for variant, count in bad.items())
    trips = median(columns(answers["round trips"], TESTBED))
    return Report(
        tuple(series),
        (
            f"datapath: the testbed's Open vSwitch uses its {answers['datapath']} datapath",
            f"datapath: bad checksums in all pairs, at both ends: {counted}",
            f"datapath: one round trip through the testbed takes {1e6 / trips:.0f} us",
        ),
    )


def _series(
    found: Mapping[str, Any], key: str, measure: str, unit: str, reference: str, target: Target
) -> PairedSeries:
    rows = found[key]
    return PairedSeries(measure, unit, columns(rows, TESTBED), columns(rows, reference), reference, target)


class Paths(Body):
    """All three variants side by side in one box, measured in turns; the others are idle meanwhile."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        from benchmarks import references

        _quiet(testbed)
        with ExitStack() as undo:
            ends = {
                TESTBED: (testbed.inside(references.ASKS), testbed.inside(references.ANSWERS)),
                BRIDGE: references.bridge(undo, testbed.plan, testbed.home / "bridge"),
                MININET: references.mininet(undo, testbed.plan, testbed.home / "mininet"),
            }
            address = testbed.plan.host(references.ANSWERS).ip
            say("result", {"datapath": testbed.datapath, **self._measure(ends, address)})
        return EXIT_HOLDS

    def _measure(self, ends: Mapping[str, tuple[Inside, Inside]], address: str) -> dict[str, Any]:
        found: dict[str, list[dict[str, float]]] = {"throughput": [], "round trips": [], "bad checksums": []}
        order = list(ends)
        for pair in range(self.size.pairs):
            say("progress", f"pair {pair + 1} of {self.size.pairs}")
            row: dict[str, dict[str, float]] = {measure: {} for measure in found}
            for variant in order:
                before = sum(bad_checksums(end) for end in ends[variant])
                row["throughput"][variant] = throughput(*ends[variant], address, self.size.seconds)
                row["round trips"][variant] = round_trips(*ends[variant], address, self.size.seconds / 2)
                row["bad checksums"][variant] = sum(bad_checksums(end) for end in ends[variant]) - before
            for measure, values in row.items():
                found[measure].append(values)
            order.append(order.pop(0))
        return found


def _quiet(testbed: Testbed) -> None:
    """End the daemons on the hosts: only the network is measured, and the port becomes free."""
    for unit in testbed.supervisor.units:
        if unit.service.host != BOX:
            testbed.supervisor.kill(unit.service.id)


def throughput(asks: Inside, answers: Inside, address: str, seconds: float) -> float:
    """Gigabits of payload a second that arrived over one TCP connection. Both ends share one processor: what lies
    between them has the others, in every variant alike."""
    server = ("iperf3", "--server", "--one-off", "--bind", address, "--port", str(PORT))
    # whole seconds only: iperf3 takes 0 for no end
    time = str(max(1, round(seconds)))
    client = ("iperf3", "--client", address, "--port", str(PORT), "--time", time, "--json")
    said = json.loads(_conversation(asks, _on(FIRST, client), answers, _on(FIRST, server), seconds))
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9


def round_trips(asks: Inside, answers: Inside, address: str, seconds: float) -> float:
    """64-byte questions answered a second, one at a time. Each end has a processor of its own, as two machines have:
    on one processor a bridge is a function call, and it is the scheduler's choice that would be measured."""
    python = (sys.executable, "-ISE", PINGPONG)
    server = (*python, "answer", address, str(PORT))
    client = (*python, "ask", address, str(PORT), f"{seconds:g}")
    return float(_conversation(asks, _on(FIRST, client), answers, _on(LAST, server), seconds))


def _on(processor: int, command: tuple[str, ...]) -> tuple[str, ...]:
    return ("taskset", "--cpu-list", str(processor), *command)


def bad_checksums(inside: Inside) -> int:
    """TCP segments thrown away there for their checksum, since its network exists (nstat's TcpInCsumErrors)."""
    counters = Path(f"/proc/{inside.pid}/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in counters if line.startswith("Tcp:"))
    return int(values[names.index("InCsumErrors")])


def _conversation(
    asks: Inside, client: tuple[str, ...], answers: Inside, server: tuple[str, ...], seconds: float
) -> str:
    """The client's output; both processes are gone afterwards."""
    listener = answers.popen(server, stdout=subprocess.DEVNULL)
    try:
        wait.until(lambda: _listens(answers), what=f"{server[3]} listening", seconds=5)
        done = asks.run(client, seconds=seconds + 15)
    finally:
        listener.kill()
        listener.wait()
    if done.returncode:
        said = (done.stdout + done.stderr)[-500:]
        raise FoobarError(f"{' '.join(client)}: exit status {done.returncode}", detail=said)
    return done.stdout


def _listens(inside: Inside) -> str | None:
    """Look without connecting: the servers serve one connection only."""
    rows = [line.split() for line in Path(f"/proc/{inside.pid}/net/tcp").read_text().splitlines()[1:]]
    listening = any(row[1].endswith(f":{PORT:04X}") and row[3] == LISTENING for row in rows)
    return None if listening else f"no listener on port {PORT}"
