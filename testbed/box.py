"""The box: own network, mount, pid, uts and ipc namespaces around a whole testbed; here, what its inside does.

launcher.py makes one and stays outside. Three ties make sure that nothing outlives it:

    the launcher dies      -> the kernel kills unshare      (parent-death signal, set before exec)
    unshare dies           -> the kernel kills pid 1        (--kill-child)
    pid 1 of the box dies  -> the kernel kills everything in the box; its links, mounts and namespaces go with it

and, should a signal be lost in the first instants of a process, the box also leaves when its lifeline, a pipe from the
launcher, is closed.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.interruption import AGAIN_SECONDS
from topo import wait
from topo.early import BOX_VARIABLE
from topo.errors import EXIT_BROKEN, FoobarError

HOME = Path("/run/foobar")
STOP, GRACE_SECONDS = b"s", 30.0


@dataclass(frozen=True)
class Ties:
    """The things that a box gets from its launcher: its name and three descriptors."""

    name: str
    control: int
    report: int
    lifeline: int


def inside() -> Ties | None:
    """The ties to the launcher when this process runs inside a box, else None. The children do not inherit them."""
    text = os.environ.pop(BOX_VARIABLE, None)
    if text is None:
        return None
    ties = Ties(**json.loads(text))
    for descriptor in (ties.control, ties.report, ties.lifeline):
        os.set_inheritable(descriptor, False)
    return ties


def move_in(ties: Ties) -> None:
    """Make this new box a home: private /run, a loopback device, the lifeline watched."""
    threading.Thread(target=_watch_lifeline, args=(ties.lifeline,), daemon=True, name="lifeline").start()
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    _run("ip", "link", "set", "lo", "up")
    _run("hostname", "box")
    HOME.mkdir()


def report(ties: Ties, **news: Any) -> None:
    """Send the launcher what other terminals should know (fields of state.Entry)."""
    os.write(ties.report, (json.dumps(news) + "\n").encode())


def _watch_lifeline(descriptor: int) -> None:
    if os.read(descriptor, 1) == STOP:
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.1 * AGAIN_SECONDS)
    os._exit(EXIT_BROKEN)


def _run(*argv: str) -> None:
    result = wait.for_command(argv)
    if result.returncode:
        raise FoobarError(f"the box: {' '.join(argv)}: {result.stderr.strip()}")
