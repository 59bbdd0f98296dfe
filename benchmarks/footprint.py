"""The memory that a whole running testbed takes, as seen from outside its box."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1_000_000
PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Footprint:
    """Megabytes. ``hosts``: processes on emulated hosts; ``rest``: all others; ``files``: the box's tmpfs.

    Processes are counted by proportional set size, so that a page that several share counts once in all.
    """

    hosts: float
    rest: float
    files: float

    @property
    def all(self) -> float:
        return self.hosts + self.rest + self.files


def footprint(launcher: int) -> Footprint:
    """The testbed of a launcher: all processes below it, and the tmpfs where hosts and databases keep their files."""
    below = descendants(launcher)
    box_init = next(pid for pid in below if _pid_namespace(pid) != _pid_namespace(launcher))
    box = _pid_namespace(box_init)
    outside = {_pid_namespace(launcher), box}
    sizes = {pid: pss(pid) for pid in below}
    hosts = sum(size for pid, size in sizes.items() if _pid_namespace(pid) not in outside)
    used = sum(map(_used, _memory_file_systems(box_init)))
    return Footprint(hosts / MEGABYTE, (sum(sizes.values()) - hosts) / MEGABYTE, used / MEGABYTE)


def _memory_file_systems(box_init: int) -> list[str]:
    """The box's file systems in memory, by path: its own /run, and the folders of its hosts."""
    rows = [line.split() for line in Path(f"/proc/{box_init}/mountinfo").read_text().splitlines()]
    places = [words[4] for words in rows if words[words.index("-") + 1] == "tmpfs" and words[3] == "/"]
    return [f"/proc/{box_init}/root{place}" for place in places if place == "/run" or place.startswith("/run/foobar/")]


def _used(path: str) -> int:
    """Bytes."""
    tmpfs = os.statvfs(path)
    return (tmpfs.f_blocks - tmpfs.f_bfree) * tmpfs.f_frsize


def descendants(pid: int) -> list[int]:
    """A process and all below it, parents before their children."""
    found, at = [pid], 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").glob("*/children"):
            with suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
        at += 1
    return found


def pss(pid: int) -> int:
    """Bytes; 0 for a process that has ended meanwhile."""
    try:
        match = PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(match[1]) * 1024 if match else 0


def _pid_namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None
