"""The provenance of a result: code, programs, machine, and the machine's load while something was measured.

With the first three a run can be made again; a busy machine's delays look like the testbed's.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.engine.evidence import MachineSecond
from topo import wait
from topo.paths import PROJECT

PROGRAMS = {
    "haproxy": ("haproxy", "-v"),
    "nginx": ("nginx", "-v"),
    "mariadb": ("mariadbd", "--version"),
    "nsd": ("nsd", "-v"),
    "openvswitch": ("ovs-vswitchd", "--version"),
    "dumpcap": ("dumpcap", "--version"),
}
LIBRARIES = ("mininet", "ryu", "scapy", "flask", "gunicorn")
NAP = 0.01
EVERY = 1.0
# A second is overloaded when next to nothing of the processors' time was left, or when work waited long for one.
# Seen on 2 processors: with 0, 1, 2 and 4 loops beside it idle 0.99, 0.49, 0.00, 0.00; the worst nap of a second was
# late by 0.1 to 3 ms with 0 and 1 (once 22), by 4 to 12 with more (now and then 22 to 47).
LEAST_IDLE = 0.05
LAG_MS = 25.0
#: the share of overloaded seconds that a verdict about times need not mention
TOLERATED = 0.05


def provenance(argv: list[str], datapath: str) -> dict[str, Any]:
    """The ``provenance`` of result.json."""
    commit = _git("rev-parse", "HEAD")
    return {
        "commit": commit or None,
        "dirty": bool(_git("status", "--porcelain")) if commit else None,
        "versions": _versions(),
        "argv": argv,
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "datapath": datapath,
    }


@cache
def _versions() -> dict[str, str]:
    """Asked once: versions do not change while we run."""
    versions = {"python": platform.python_version()}
    versions |= {library: metadata.version(library) for library in LIBRARIES}
    return versions | {program: _first_line(*command) for program, command in PROGRAMS.items()}


def _git(*arguments: str) -> str:
    """git's answer; empty where the project is no clone. Root may ask about a clone that belongs to a person."""
    command = ("git", "-c", f"safe.directory={PROJECT}", "-C", str(PROJECT), *arguments)
    try:
        return wait.for_command(command).stdout.strip()
    except FileNotFoundError:
        return ""


def _first_line(*command: str) -> str:
    try:
        result = wait.for_command(command)
    except FileNotFoundError:
        return "not installed"
    return (result.stdout + result.stderr).strip().splitlines()[0]


def command_line() -> list[str]:
    """The command that started this process, as a person would type it again."""
    return [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]


def overloaded(seconds: Sequence[MachineSecond]) -> int:
    """The number of noted seconds that were overloaded."""
    return sum(second["lag_ms"] > LAG_MS or second["idle"] < LEAST_IDLE for second in seconds)


@contextmanager
def machine_watched() -> Iterator[list[MachineSecond]]:
    """Note once a second, while the block runs, ``{"time", "idle", "lag_ms"}``.

    ``idle``: the share of the machine's processors' time with nothing to do; ``lag_ms``: by how much a sleep of 10 ms
    was late, at worst.
    """
    seconds: list[MachineSecond] = []
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(seconds, over), daemon=True, name="machine")
    watcher.start()
    try:
        yield seconds
    finally:
        over.set()
        watcher.join(EVERY)


def _watch(seconds: list[MachineSecond], over: threading.Event) -> None:
    before = _processors()
    while not over.is_set():
        lag = _worst_lag(over)
        now = _processors()
        total = sum(now) - sum(before)
        idle = sum(now[3:5]) - sum(before[3:5])  # idle, and idle while a disk works
        if total > 0:
            seconds.append({"time": round(time.time(), 3), "idle": round(idle / total, 3), "lag_ms": round(lag, 2)})
        before = now


def _worst_lag(over: threading.Event) -> float:
    """The worst of a second's naps (ms)."""
    worst, until = 0.0, time.monotonic() + EVERY
    while (now := time.monotonic()) < until and not over.is_set():
        time.sleep(NAP)
        worst = max(worst, time.monotonic() - now - NAP)
    return worst * 1000


def _processors() -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal: ticks of all processors since the machine started."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
