"""The processes of one daemon: each service leads a session of its own, which is its process group as well."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from topo import wait

SECONDS, EVERY = 5.0, 0.0005


class ProcessSession:
    """A daemon and its workers, which outlive it when it crashes."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self._process = process
        self._leader = process.pid

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._leader, number)

    def freeze(self, what: str) -> None:
        """Stop all of them (SIGSTOP), and return when all stand still."""
        self.signal(signal.SIGSTOP)
        wait.until(self._moving, what=f"{what} frozen", seconds=SECONDS, every=EVERY)

    def end(self, what: str) -> None:
        """Kill the processes that are left, if any, and return when there is none."""
        if self._process.poll() is None or self.processes():
            self.signal(signal.SIGKILL)
        self._process.wait()
        wait.until(self._left, what=f"nothing left of {what}", seconds=SECONDS, every=EVERY)

    def processes(self) -> dict[int, str]:
        """Its living processes -> their states, as ps has them; a zombie holds nothing any more."""
        states = {}
        for name in os.listdir("/proc") if self._exists() else ():
            with suppress(OSError):  # it has ended meanwhile
                if name.isdigit() and os.getsid(int(name)) == self._leader:
                    state = state_of(int(name))
                    if state not in "ZX":
                        states[int(name)] = state
        return states

    def _exists(self) -> bool:
        try:
            os.killpg(self._leader, 0)
        except ProcessLookupError:
            return False
        return True

    def _left(self) -> str | None:
        return ", ".join(f"pid {pid}" for pid in self.processes()) or None

    def _moving(self) -> str | None:
        moving = [pid for pid, state in self.processes().items() if state != "T"]
        return f"pid {moving[0]} runs" if moving else None


def state_of(pid: int) -> str:
    """A process's state, as ps has it; X when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
