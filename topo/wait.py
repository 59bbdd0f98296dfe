"""Waiting with a deadline: for a condition, or for a command's end. The error says what was waited for, what was seen
last, and whether the machine was overloaded meanwhile.

All deadlines are for a machine with time to spare. A slower one (an emulated one, say) is given ``FOOBAR_PATIENCE``
times as long.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from topo.errors import DeadlineError, UsageError

PATIENCE, MOST_PATIENCE = "FOOBAR_PATIENCE", 100.0

#: for commands that take milliseconds: a machine has to be stuck until one of them does not end in time
COMMAND_SECONDS = 60.0

PRESSURE, LOADAVG = Path("/proc/pressure"), Path("/proc/loadavg")
# The shares of the last 10 s, in percent, from which a machine is overloaded: work waited for a processor, or all work
# for a disk, or for memory. A boot on a quiet machine with 2 processors stays below.
SHARES = {"cpu": ("some", 80.0, "a processor"), "io": ("full", 50.0, "a disk"), "memory": ("full", 10.0, "memory")}
LOAD = 3.0  # where the kernel does not tell: that much work for each processor


def until(look: Callable[[], str | None], *, what: str, seconds: float, every: float = 0.005) -> None:
    """Call ``look`` until it returns None.

    ``look`` returns None when the condition holds, else a short text of what it saw. The pause between looks
    grows from ``every`` to at most 50 ms, so a quick condition is noticed quickly and a slow one costs little.

    Raises DeadlineError, carrying the last look's text, after ``seconds``.
    """
    seconds *= patience()
    deadline = time.monotonic() + seconds
    pause = every
    while (seen := look()) is not None:
        if time.monotonic() >= deadline:
            raise late(what, seconds, seen)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def for_command(
    argv: Sequence[str], *, seconds: float = COMMAND_SECONDS, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its output as text. ``options`` are subprocess.run's.

    Raises DeadlineError, with the process killed, after ``seconds``; FileNotFoundError where there is no such program.
    """
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    seconds *= patience()
    try:
        return subprocess.run(list(argv), capture_output=True, text=True, check=False, timeout=seconds, **options)
    except subprocess.TimeoutExpired as error:
        raise late(" ".join(argv[:4]), seconds, _last_words(error)) from None


def for_process(
    process: subprocess.Popen[Any], argv: Sequence[str], seconds: float
) -> subprocess.CompletedProcess[Any]:
    """The end of a command that has been started. Whatever is raised, DeadlineError among it, the process is killed."""
    seconds *= patience()
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        process.kill()
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise late(" ".join(argv[:4]), seconds, _last_words(error)) from None
        raise
    return subprocess.CompletedProcess(list(argv), process.returncode, out, err)


def late(what: str, seconds: float, seen: str = "", detail: str = "") -> DeadlineError:
    """The error for what did not come true within ``seconds``. ``seen``: the last look's words."""
    last = f"; last seen: {seen}" if seen else ""
    busy = f"; {words}" if (words := overload()) else ""
    return DeadlineError(f"{what}: not within {seconds:g} s{last}{busy}", detail=detail)


def patience() -> float:
    """The factor of all deadlines. Raises UsageError when it is no number, or one that makes no sense."""
    text = os.environ.get(PATIENCE) or "1"
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= MOST_PATIENCE:
        raise UsageError(f"{PATIENCE}={text}: must be a number from 1 to {MOST_PATIENCE:g}")
    return factor


def overload() -> str:
    """In words, what work waited for when the machine is overloaded; else empty."""
    waits = _waits()
    return f"the machine is overloaded: {', '.join(waits)} ({PATIENCE}=3 waits three times as long)" if waits else ""


def _waits() -> list[str]:
    """The shares that are too large, by the kernel's pressure stall information; by its load where it has none."""
    waits, known = [], False
    for name, (line, most, what) in SHARES.items():
        try:
            words = next(row for row in (PRESSURE / name).read_text().splitlines() if row.startswith(line)).split()
        except (OSError, StopIteration):  # not in this kernel, or switched off
            continue
        known = True
        if (share := float(words[1].removeprefix("avg10="))) >= most:
            waits.append(f"work waited for {what} for {share:.0f} % of the last 10 s")
    load, processors = float(LOADAVG.read_text().split()[0]), os.cpu_count() or 1
    if not known and load >= LOAD * processors:
        waits.append(f"there was work for {load:.0f} processors, and it has {processors}")
    return waits


def _last_words(error: subprocess.TimeoutExpired) -> str:
    """The last line that a command wrote before it was killed."""
    said = b"".join(part if isinstance(part, bytes) else b"" for part in (error.stdout, error.stderr))
    return last_line(said.decode(errors="replace"))


def last_line(text: str) -> str:
    """The last line of what a program said; empty when it said nothing."""
    return (text.strip().splitlines() or [""])[-1]
