"""Every benchmark, listed by hand: the place to add one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence

from benchmarks.boot_time import BootTime
from benchmarks.comparison import Benchmark
from benchmarks.database_remedies import DatabaseRemedies
from benchmarks.datapath import Datapath
from benchmarks.deny_flood import DenyFlood
from benchmarks.detection_overhead import DetectionOverhead
from benchmarks.https import Https
from benchmarks.lossless_capture import LosslessCapture
from benchmarks.monitoring_overhead import MonitoringOverhead
from benchmarks.policy_install import PolicyInstall
from benchmarks.port_scan import PortScan
from benchmarks.reverification import Reverification
from benchmarks.waf import WafCost
from benchmarks.web_remedies import WebRemedies
from topo.environment import SYSTEM_PATH
from topo.errors import MissingError, UsageError, among

BENCHMARKS: tuple[Benchmark, ...] = (
    BootTime(),
    Datapath(),
    Https(),
    LosslessCapture(),
    DatabaseRemedies(),
    WebRemedies(),
    MonitoringOverhead(),
    WafCost(),
    DetectionOverhead(),
    PortScan(),
    DenyFlood(),
    Reverification(),
    PolicyInstall(),
)


def wanted(names: Sequence[str]) -> tuple[Benchmark, ...]:
    """The benchmarks of those names, all for none. Raises UsageError, naming the possible ones."""
    return tuple(benchmark(name) for name in dict.fromkeys(names)) or BENCHMARKS


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name. Raises UsageError, naming the possible ones."""
    listed = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    if name not in listed:
        raise UsageError(f"{name}: no such benchmark; benchmarks: {among(name, listed)}")
    return listed[name]


def check_programs(benchmarks: Iterable[Benchmark]) -> None:
    """Raise MissingError with one line that names everything missing, before anything is measured."""
    needed = {program: package for benchmark in benchmarks for program, package in benchmark.programs.items()}
    missing = [program for program in needed if not shutil.which(program, path=SYSTEM_PATH)]
    if missing:
        packages = " ".join(sorted({needed[program] for program in missing}))
        raise MissingError(
            f"missing: {', '.join(missing)} (packages: {packages}); run: sudo ./foobar, which installs them"
        )
