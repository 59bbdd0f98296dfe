"""``down``: end running testbeds."""

from __future__ import annotations

import os
import signal
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from testbed import control, state
from testbed.commandline import Parser
from testbed.commands.command import Command, Origin
from topo.errors import EXIT_HOLDS, FoobarError, RefusedError, UsageError
from topo.plaintext import say

DOWN_SECONDS, KILL_SECONDS = 35.0, 5.0
#: without a sign of life for so long (and another `control.HEARD_SECONDS`) a testbed that was asked to leave is killed
DEAF_SECONDS, LOOK_SECONDS = 1.0, 0.1
#: launcher, unshare, the box's init, the testbed
GENERATIONS = 4


class DownCommand(Command):
    """Ends testbeds and returns when nothing of them is left."""

    name = "down"
    words = "[NAME | --all]"
    summary = "end testbeds"
    about = "End a running testbed; nothing of it is left."
    at_prompt = False
    of_one_testbed = False

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("name", nargs="?", help="which one, when several are running")
        parser.add_argument("--all", action="store_true", help="every one")

    def run(self, options: Namespace, origin: Origin) -> int:  # noqa: ARG002 - a testbed that boots has no target yet
        if options.all and options.name:
            raise UsageError("say a name or --all, not both")
        entries = state.running() if options.all else [state.the(options.name)]
        with ThreadPoolExecutor(max_workers=max(1, len(entries))) as pool:
            ending = [(entry, pool.submit(_end, entry)) for entry in entries]
        for entry, ended in ending:
            if ended.exception() is None:
                say(f"{entry.name}: down")
        for _, ended in ending:
            ended.result()
        return EXIT_HOLDS

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:  # noqa: ARG002 - those of the machine
        return () if before else [entry.name for entry in state.running()]


def _end(entry: state.Entry) -> None:
    """Ask the launcher to end its box: an experiment heals its faults and saves its evidence first.

    What was stopped (SIGSTOP) goes on for that. A testbed that neither answers nor uses any processor time has nothing
    to save: it is killed. The launcher's lock tells that it has gone.
    """
    launcher = state.send(entry, signal.SIGCONT)
    family = _family(launcher) if launcher else []
    for pid in family:
        with suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    state.send(entry, signal.SIGTERM)
    deadline, alive = time.monotonic() + DOWN_SECONDS, _Signs(entry, family)
    while time.monotonic() < deadline and alive:
        if _gone_within(entry, LOOK_SECONDS):
            return
    state.send(entry, signal.SIGKILL)
    if not _gone_within(entry, KILL_SECONDS):
        raise RefusedError(f"testbed {entry.name} does not end (launcher pid {entry.launcher})")


class _Signs:
    """The signs of life of a testbed that was asked to leave: false when there was none for a while."""

    def __init__(self, entry: state.Entry, family: Sequence[int]) -> None:
        self._entry, self._family = entry, family
        self._ticks, self._seen = -1, time.monotonic()

    def __bool__(self) -> bool:
        ticks = sum(map(_ticks, self._family))
        if ticks != self._ticks:
            self._ticks, self._seen = ticks, time.monotonic()
        if time.monotonic() - self._seen < DEAF_SECONDS:
            return True
        if self._answers():
            self._seen = time.monotonic()
            return True
        return False

    def _answers(self) -> bool:
        """It knows no such request, and says so."""
        try:
            control.ask(self._entry, "")
        except RefusedError:
            return False
        except FoobarError:
            pass
        return True


def _family(launcher: int) -> list[int]:
    """The launcher, and the first processes of its box: unshare, init, and the testbed itself."""
    pids = [launcher]
    with suppress(OSError, IndexError, ValueError):
        while len(pids) < GENERATIONS:
            pids.append(int(Path(f"/proc/{pids[-1]}/task/{pids[-1]}/children").read_text().split()[0]))
    return pids


def _ticks(pid: int) -> int:
    """The processor time that a process has used so far, in the kernel's ticks."""
    with suppress(OSError, IndexError, ValueError):
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return 0


def _gone_within(entry: state.Entry, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while state.entry(entry.name) is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True
