"""The processor time of a host as the kernel accounts it, read from the box, beside what the metrics say of it."""

from __future__ import annotations

import itertools
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.monitoring.evidence import ProcessorRow
from services.monitoring import query
from topo import plan as roles

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

#: s of work; s before and after, so that samples lie around what is compared
WORK_SECONDS, AROUND_SECONDS = 4.0, 2.5
TICKS = os.sysconf("SC_CLK_TCK")
BUSY = "while True: pass"


def compared(testbed: Testbed, run: Run) -> list[ProcessorRow]:
    """A host that is idle otherwise, and a server under its usual work, each while a program keeps it busy."""
    plan = testbed.plan
    names = (plan.host_of(roles.RESOLVER).name, plan.hosts_of(roles.WEB)[-1].name)
    rows = []
    for name in names:
        with run.phase(f"processor of {name}"):
            rows.append(_one(testbed, name))
    run.keep("processor", rows)
    return rows


def _one(testbed: Testbed, name: str) -> ProcessorRow:
    inside = testbed.inside(name)
    began = time.time()
    busy = inside.popen((sys.executable, "-c", BUSY))
    try:
        time.sleep(AROUND_SECONDS)
        first, before = time.time(), spent(_namespace(busy.pid))
        time.sleep(WORK_SECONDS)
        last, after = time.time(), spent(_namespace(busy.pid))
        time.sleep(AROUND_SECONDS)
    finally:
        busy.kill()
        busy.wait()
    tool = testbed.inside(testbed.plan.host_of(roles.MONITOR).name)
    selector = f'host_cpu_seconds_total{{host="{name}"}}'
    samples = [
        sample for _, found in query.history(tool, testbed.plan, selector, began, time.time()) for sample in found
    ]
    told = at(samples, last) - at(samples, first)
    return {"host": name, "truth_s": round(after - before, 3), "told_s": round(told, 3)}


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def spent(namespace: str) -> float:
    """The seconds that all processes of a pid namespace have used, and their children that have ended."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(folder / "ns/pid") == namespace:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def at(samples: query.Samples, moment: float) -> float:
    """The value at a moment between two samples, on the straight line from one to the other; nan outside of them."""
    for (first, low), (last, high) in itertools.pairwise(samples):
        if first <= moment <= last:
            return low + (high - low) * (moment - first) / (last - first)
    return float("nan")
