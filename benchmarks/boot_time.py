"""From a command to the first write: how long it takes, warm and cold, and what the running testbed costs in memory."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, say
from benchmarks.footprint import Footprint, footprint
from testbed.body import Body
from topo.plan import CLIENT, RESOLVER

if TYPE_CHECKING:
    from testbed.testbed import Testbed

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
ALL_CLEAN_PAGES = "3"


@dataclass(frozen=True)
class FirstWrite:
    """One boot: ``seconds`` from command to write; ``waterfall`` by what was booted, in seconds since the command."""

    seconds: float
    waterfall: Mapping[str, Mapping[str, float]]
    memory: Footprint


class BootTime(Benchmark):
    """The clock runs from before the process is started until the site has confirmed a message as written."""

    name = "boot"

    def measure(self, size: Size, tell: Tell) -> Report:
        warm, cold, dropped = [], [], False
        for pair in range(size.pairs):
            tell(f"pair {pair + 1} of {size.pairs}: cold")
            with tempfile.TemporaryDirectory(prefix="foobar-cold-") as empty:
                dropped = drop_page_cache()
                cold.append(self._boot(size, tell, {"XDG_CACHE_HOME": empty}))
            tell(f"pair {pair + 1} of {size.pairs}: warm")
            self._boot(size, tell, {})
            warm.append(self._boot(size, tell, {}))
        return report(warm, cold, dropped=dropped)

    def body(self, size: Size) -> Body:  # noqa: ARG002 - a box boots once, however many are wanted
        return FirstWriteBody()

    def _boot(self, size: Size, tell: Tell, environment: Mapping[str, str]) -> FirstWrite:
        began = time.monotonic()
        with child.running(self.name, size, environment) as running:
            boot = running.result(tell)
            return first_write(boot, began, footprint(running.pid))


class FirstWriteBody(Body):
    """Writes, and says when: CLOCK_MONOTONIC is one clock for the whole machine, in a box and out of it."""

    def __call__(self, testbed: Testbed) -> int:
        from benchmarks import first_visit

        steady = time.monotonic()
        first_visit.write(testbed.inside(testbed.plan.host_of(CLIENT).name), testbed.plan.endpoint(RESOLVER).ip)
        written = time.monotonic()
        services = {row["id"]: row["times"] for row in testbed.supervisor.status()}
        say("result", {"began": testbed.began, "steady": steady, "written": written, "services": services})
        while True:  # until the process outside has looked at the memory and ends this box
            signal.pause()


def first_write(boot: Mapping[str, Any], began: float, memory: Footprint) -> FirstWrite:
    """From the body's clock readings to seconds since the command, given at ``began``."""
    inside = boot["began"] - began
    waterfall = {"in the box": {"ready": inside}}
    for service, times in boot["services"].items():
        waterfall[service] = {phase: inside + seconds for phase, seconds in times.items()}
    waterfall |= {"steady": {"ready": boot["steady"] - began}, "first write": {"ready": boot["written"] - began}}
    return FirstWrite(boot["written"] - began, waterfall, memory)


def report(warm: list[FirstWrite], cold: list[FirstWrite], *, dropped: bool) -> Report:
    """Pure: the series, and the waterfall of the middle one of the warm boots."""
    in_seconds = {kind: tuple(boot.seconds for boot in boots) for kind, boots in (("warm", warm), ("cold", cold))}
    whole = tuple(boot.memory.all for boot in warm)
    daemons = tuple(boot.memory.hosts + boot.memory.files for boot in warm)
    shown = sorted(warm, key=lambda boot: boot.seconds)[len(warm) // 2]
    cold_means = "emptied" if dropped else "kept, because this user may not empty it"
    return Report(
        (
            PairedSeries("warm", "s", in_seconds["warm"], in_seconds["cold"], "cold", Target("ours", "<=", 3)),
            PairedSeries("cold", "s", in_seconds["cold"], in_seconds["warm"], "warm", Target("ours", "<=", 8)),
            PairedSeries(
                "memory", "MB", whole, daemons, "the hosts' daemons and files alone", Target("ours", "<=", 900)
            ),
        ),
        (
            f"boot: cold means without the database template, and the machine's page cache {cold_means}",
            (
                f"boot: memory is the proportional set size of the hosts' processes ({shown.memory.hosts:.0f} MB), of"
                f" the box's own and the launcher ({shown.memory.rest:.0f} MB), and tmpfs ({shown.memory.files:.0f} MB)"
            ),
        ),
        shown.waterfall,
    )


def drop_page_cache() -> bool:
    """Empty the machine's page cache; False where that is not permitted."""
    os.sync()
    try:
        DROP_CACHES.write_text(ALL_CLEAN_PAGES)
    except OSError:
        return False
    return True
