"""The cost of a flood of denied packets for allowed ones: the site's requests with it and without, side by side."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, columns, say
from controllers.ovs import bypass
from experiments.instruments import flood
from testbed.body import Body
from topo.errors import EXIT_HOLDS, FoobarError
from topo.plan import ATTACKER, CLIENT, DATABASE, SITE, plan
from topo.profile import SEED

if TYPE_CHECKING:
    from testbed.testbed import Testbed

PLAN = plan(SEED)
SENDER, TARGET = PLAN.host_of(ATTACKER).name, PLAN.hosts_of(DATABASE)[0].name
PORT, RATE = PLAN.port(DATABASE), 10_000
FLOODED, QUIET, ELSEWHERE, UNSAMPLED = "flood", "no flood", "flood that no switch sees", "flood, not sampled"
ASKED = f"https://{SITE}/static/style.css"
TARGETS = {QUIET: 0.5, ELSEWHERE: 0.7, UNSAMPLED: 0.95}
#: this much of the flood must have been denied, or nothing was measured
LEAST = 0.2


class DenyFlood(Benchmark):
    """Requests for a file of the site's while the attacker asks for a database that the policy denies."""

    name = "deny_flood"
    programs: Mapping[str, str] = {"wrk": "wrk"}

    def measure(self, size: Size, tell: Tell) -> Report:
        return report(child.result(self.name, size, tell))

    def body(self, size: Size) -> Body:
        return Floods(size)


def report(answers: Mapping[str, Any]) -> Report:
    """Series from the answers: ``requests`` a second, and ``flood``: what became of it; a row for each pair."""
    rows, flood = answers["requests"], answers["flood"]
    series = [
        PairedSeries(
            f"requests / {reference}",
            "1/s",
            columns(rows, FLOODED),
            columns(rows, reference),
            reference,
            Target("ratio", ">=", bound),
        )
        for reference, bound in TARGETS.items()
    ]
    denied, sampled, busy = (median(columns(flood, name)) for name in ("denied", "sampled", "controller"))
    note = (
        f"deny_flood: {denied:.0f} packets/s were denied and counted, {sampled:.1f}/s of them sampled; "
        f"the controller took {busy:.1%} of a processor"
    )
    return Report(tuple(series), (note,))


class Floods(Body):
    """All variants on one testbed, in turns."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        say("result", self._measure(testbed))
        return EXIT_HOLDS

    def _measure(self, testbed: Testbed) -> dict[str, Any]:
        from benchmarks import https

        client = testbed.inside(testbed.plan.host_of(CLIENT).name)
        https.rate(client, https.WARM_UP_SECONDS, (ASKED,))
        found: dict[str, list[dict[str, float]]] = {"requests": [], "flood": []}
        order = [FLOODED, *TARGETS]
        for pair in range(self.size.pairs):
            say("progress", f"pair {pair + 1} of {self.size.pairs}")
            row: dict[str, float] = {}
            for variant in order:
                with ExitStack() as undo:
                    undo.enter_context(_variant(testbed, variant))
                    before = _told(testbed)
                    row[variant] = https.rate(client, self.size.seconds, (ASKED,))
                    flood = _spent(before, _told(testbed))
                _check(variant, flood)
                if variant == FLOODED:
                    found["flood"].append(flood)
            found["requests"].append(row)
            order.append(order.pop(0))
        return found


def _check(variant: str, flood: Mapping[str, float]) -> None:
    """Raise FoobarError when it was not what it is called: a flood that reaches no switch costs nothing."""
    flooded = variant in (FLOODED, UNSAMPLED)
    if flooded != (flood["denied"] > LEAST * RATE) or (variant == UNSAMPLED and flood["sampled"]):
        raise FoobarError(
            f"deny_flood: {variant}: {flood['denied']:.0f} denied, {flood['sampled']:.1f} sampled a second"
        )


@contextmanager
def _variant(testbed: Testbed, variant: str) -> Iterator[None]:
    with ExitStack() as undo:
        if variant == UNSAMPLED:
            undo.enter_context(_unsampled(testbed))
        if variant != QUIET:
            undo.enter_context(_flood(testbed, "lo" if variant == ELSEWHERE else testbed.plan.host(SENDER).interface))
        yield


@contextmanager
def _flood(testbed: Testbed, interface: str) -> Iterator[None]:
    """SYNs from the attacker to the database; on the loopback device they are made all the same, and meet no switch."""
    src, dst = testbed.plan.host(SENDER), testbed.plan.host(TARGET)
    settings = {"interface": interface, "rate": RATE, "macs": (src.mac, dst.mac), "src": src.ip, "dst": dst.ip}
    words = (flood.__file__, json.dumps({**settings, "port": PORT}))
    sender = testbed.inside(SENDER).popen((sys.executable, "-ISE", *words), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        sender.kill()
        sender.wait()


@contextmanager
def _unsampled(testbed: Testbed) -> Iterator[None]:
    """The flows that the flood meets only drop it, past the controller."""
    from controllers.sampling import unsampled

    guard = next(switch.name for switch in testbed.plan.switches if switch.guards == TARGET)
    sampling = [flow for flow in testbed.flows if flow.switch == guard and flow.drops and flow.actions]
    bypass.exchange_flows(guard, (), unsampled(sampling, [guard]))
    try:
        yield
    finally:
        bypass.exchange_flows(guard, (), sampling)


def _told(testbed: Testbed) -> dict[str, float]:
    from controllers import northbound
    from services.controller import northbound_socket
    from topo.paths import BOX

    controller = northbound.ask("samples", socket=testbed.inside(BOX).path(northbound_socket(testbed.plan)))
    counters = testbed.rule_counters().values()
    return {
        "time": time.monotonic(),
        "denied": sum(counter.get("deny-rest", 0) for counter in counters),
        "sampled": sum(controller["packet_ins"].values()),
        "controller": controller["cpu_s"],
    }


def _spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """A second's share of each."""
    seconds = after["time"] - before["time"]
    return {name: (after[name] - before[name]) / seconds for name in ("denied", "sampled", "controller")}
