"""The use of a host: its own processes, interfaces and disks, never the machine's, with which it shares the kernel."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from services.monitoring import certificates
from services.monitoring.daemons import Daemons
from services.monitoring.metric import COUNTER, GAUGE, Metric, Rising, value

#: the kernel sums the maps of a process in a millisecond: its memory and its files are asked in one of so many looks
SLOW_LOOKS = 8
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """Of a process and of those of its children that it has waited for."""

    cpu_s: float
    read: int
    written: int

    def plus(self, other: Used) -> Used:
        return Used(self.cpu_s + other.cpu_s, self.read + other.read, self.written + other.written)


NOTHING = Used(0.0, 0, 0)


@dataclass
class HostProcess:
    """One process as it was last seen. ``outside``: its parent belongs to no host, and so counts nothing here."""

    session: str
    state: bytes
    outside: bool
    used: Used
    pss: int = 0
    files: int = 0


class ProcessTable:
    """The processes of this pid namespace, and what those have used that are gone.

    A process that ends is counted by its parent, unless that is outside; then its last seen use stays counted.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self.proc = proc
        self.now: dict[tuple[str, str], HostProcess] = {}
        self._gone = NOTHING
        self._looks = 0

    def look(self) -> None:
        self._looks += 1
        before, self.now = self.now, {}
        for pid in os.listdir(self.proc):
            if pid.isdigit():
                with suppress(OSError):  # it ended meanwhile, or is not for us to look at
                    self._see(pid, before)
        for key in before.keys() - self.now.keys():
            if before[key].outside:
                self._gone = self._gone.plus(before[key].used)

    def used(self) -> Used:
        """By all of them, from the host's start on."""
        total = self._gone
        for process in self.now.values():
            total = total.plus(process.used)
        return total

    def sessions(self) -> Mapping[str, list[bytes]]:
        """The states of the processes of each session, by the pid of its first one."""
        states: defaultdict[str, list[bytes]] = defaultdict(list)
        for process in self.now.values():
            states[process.session].append(process.state)
        return states

    def _see(self, pid: str, before: dict[tuple[str, str], HostProcess]) -> None:
        fields = _read(f"{self.proc}/{pid}/stat").rpartition(b")")[2].split()
        key = pid, fields[19].decode()
        read, written = self._disk(pid)
        cpu_s = sum(map(int, fields[11:15])) * TICK_S
        process = self.now[key] = HostProcess(
            fields[3].decode(), fields[0], fields[1] == b"0", Used(cpu_s, read, written)
        )
        if key not in before or (int(pid) + self._looks) % SLOW_LOOKS == 0:
            process.pss, process.files = self._pss(pid), self._files(pid)
        else:
            process.pss, process.files = before[key].pss, before[key].files

    def _disk(self, pid: str) -> tuple[int, int]:
        with suppress(OSError):
            words = _read(f"{self.proc}/{pid}/io").split()
            return int(words[9]), int(words[11])
        return 0, 0

    def _files(self, pid: str) -> int:
        folder = f"{self.proc}/{pid}/fd"
        with suppress(OSError):
            return os.stat(folder).st_size or len(os.listdir(folder))  # older kernels tell no size
        return 0

    def _pss(self, pid: str) -> int:
        """The bytes of memory that are its own, and its share of those that it shares."""
        with suppress(OSError, ValueError):
            _, found, rest = _read(f"{self.proc}/{pid}/smaps_rollup").partition(b"\nPss:")
            return int(rest.split(None, 1)[0]) * 1024 if found else 0
        return 0


class HostUsage:
    """``folders``: those that are file systems of the host's own; ``certificates``: files of its services, and
    ``services``: a word of each one's command line."""

    def __init__(
        self,
        folders: Sequence[str],
        certificates: Sequence[str],
        services: Mapping[str, str] | None = None,
        proc: str = "/proc",
    ) -> None:
        self._daemons = Daemons(services or {}, proc)
        self._folders = folders
        self._certificates = certificates
        self._proc = proc
        self._processes = ProcessTable(self._proc)
        self._rising = Rising[str]()

    def metrics(self) -> Iterator[Metric]:
        yield value("host_clock_seconds", time.time())
        yield from self._used()
        yield from self._interfaces()
        yield from self._space()
        yield self._ends()
        yield self._daemons.metric(self._processes.sessions())

    def _used(self) -> Iterator[Metric]:
        self._processes.look()
        used, now = self._processes.used(), self._processes.now.values()
        yield self._counter("host_cpu_seconds_total", used.cpu_s)
        yield self._counter("host_disk_read_bytes_total", used.read)
        yield self._counter("host_disk_written_bytes_total", used.written)
        yield value("host_memory_pss_bytes", sum(process.pss for process in now))
        yield value("host_processes", len(now))
        yield value("host_open_files", sum(process.files for process in now))

    def _counter(self, name: str, number: float) -> Metric:
        return value(name, self._rising(name, number), COUNTER)

    def _interfaces(self) -> Iterator[Metric]:
        columns = {"receive_bytes": 0, "receive_packets": 1, "transmit_bytes": 8, "transmit_packets": 9}
        lines = _read(f"{self._proc}/net/dev").decode().splitlines()[2:]
        rows = [(name.strip(), numbers.split()) for name, _, numbers in (line.partition(":") for line in lines)]
        for column, at in columns.items():
            metric = Metric(f"host_network_{column}_total", COUNTER, ("interface",))
            for name, numbers in rows:
                metric.add(int(numbers[at]), name)
            yield metric

    def _space(self) -> Iterator[Metric]:
        size = Metric("host_filesystem_size_bytes", GAUGE, ("mount",))
        free = Metric("host_filesystem_free_bytes", GAUGE, ("mount",))
        for folder in self._folders:
            with suppress(OSError):
                status = os.statvfs(folder)
                size.add(status.f_frsize * status.f_blocks, folder)
                free.add(status.f_frsize * status.f_bavail, folder)
        return iter((size, free))

    def _ends(self) -> Metric:
        metric = Metric("host_certificate_not_after_seconds", GAUGE, ("file",))
        for path in self._certificates:
            with suppress(OSError, ValueError):
                metric.add(certificates.end(path), path)
        return metric


def _read(path: str) -> bytes:
    """A file of /proc, in one piece."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
