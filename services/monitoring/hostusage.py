"""The use of a host: its own processes, interfaces and disks, never the machine's, with which it shares the kernel."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from services.monitoring import certificates
from services.monitoring.daemons import Daemons
from services.monitoring.metric import COUNTER, GAUGE, Metric, Rising, value

TICK_S, PAGE = 1 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class HostProcess(NamedTuple):
    """One process as it was last seen. ``outside``: its parent belongs to no host, and so counts nothing here.

    ``cpu_s``: of it and of those of its children that it has waited for; ``memory``: bytes that it shares with no
    other; ``files``: None where only its own user may count them, as before Linux 6.2.
    """

    session: str
    state: bytes
    outside: bool
    cpu_s: float
    memory: int
    files: int | None


class ProcessTable:
    """The processes of this pid namespace, and what those have used that are gone.

    A process that ends is counted by its parent, unless that is outside; then its last seen use stays counted.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self.proc = proc
        self.now: dict[tuple[str, str], HostProcess] = {}
        self._gone = 0.0

    def look(self) -> None:
        before, self.now = self.now, {}
        for pid in os.listdir(self.proc):
            if pid.isdigit():
                with suppress(OSError):  # it ended meanwhile, or is not for us to look at
                    self._see(pid)
        for key in before.keys() - self.now.keys():
            if before[key].outside:
                self._gone += before[key].cpu_s

    def cpu_s(self) -> float:
        """Used by all of them, from the host's start on."""
        return self._gone + sum(process.cpu_s for process in self.now.values())

    def sessions(self) -> Mapping[str, list[bytes]]:
        """The states of the processes of each session, by the pid of its first one."""
        states: defaultdict[str, list[bytes]] = defaultdict(list)
        for process in self.now.values():
            states[process.session].append(process.state)
        return states

    def _see(self, pid: str) -> None:
        """By what every user may read of every process."""
        fields = _read(f"{self.proc}/{pid}/stat").rpartition(b")")[2].split()
        _, resident, shared, *_ = map(int, _read(f"{self.proc}/{pid}/statm").split())
        cpu_s = sum(map(int, fields[11:15])) * TICK_S
        self.now[pid, fields[19].decode()] = HostProcess(
            fields[3].decode(), fields[0], fields[1] == b"0", cpu_s, (resident - shared) * PAGE, self._files(pid)
        )

    def _files(self, pid: str) -> int | None:
        folder = f"{self.proc}/{pid}/fd"
        with suppress(PermissionError):
            return os.stat(folder).st_size or len(os.listdir(folder))
        return None


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
        now = self._processes.now.values()
        yield self._counter("host_cpu_seconds_total", self._processes.cpu_s())
        yield value("host_memory_private_bytes", sum(process.memory for process in now))
        yield value("host_processes", len(now))
        files = [process.files for process in now if process.files is not None]
        if len(files) == len(now):
            yield value("host_open_files", sum(files))

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
