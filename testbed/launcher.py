"""The launcher: it runs a command again inside a new box, holds the name's lock, waits, and relays a wish to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

from testbed import preflight
from testbed.box import GRACE_SECONDS, STOP, Ties
from testbed.detaching import die_with_parent, in_background
from testbed.state import Claim, Entry
from topo import environment
from topo.early import BOX_VARIABLE
from topo.errors import EXIT_INTERRUPTED, FoobarError
from topo.profile import Profile

UNSHARE = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
AS_USER = ("--user", "--map-root-user")


def enter(name: str, argv: list[str], profile: dict[str, Any], *, detach: bool = False) -> int:
    """Run ``python argv`` again inside a new box and return its exit code.

    With ``detach`` return as soon as the testbed is up; the launcher stays behind as a background process.
    Raises UsageError when the name is taken, MissingError when the machine lacks something.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    design = Profile(**profile)
    preflight.check(cluster=design.cluster, monitored=design.monitored, shielded=design.shielded)
    if detach:
        return in_background(lambda ready: Launcher(name, argv, profile, ready).run())
    return Launcher(name, argv, profile).run()


class Launcher:
    """One box, from its making until nothing of it is left; ``ready`` is called when its testbed is up."""

    def __init__(
        self, name: str, argv: list[str], profile: dict[str, Any], ready: Callable[[], None] | None = None
    ) -> None:
        self.argv = argv
        self.ready = ready
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.entry = Entry(name, "booting", os.getpid(), 0, started, profile, {})
        self.stopping: int | None = None
        self.code: int | None = None

    def run(self) -> int:
        report_in, report_out = os.pipe()
        lifeline_in, self.lifeline = os.pipe()
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        with ExitStack() as undo:
            for number, handler in previous.items():
                undo.callback(signal.signal, number, handler)
            undo.callback(os.close, self.lifeline)
            undo.callback(os.close, report_in)
            self.claim = Claim(self.entry.name)
            undo.callback(self.claim.release)
            self.claim.write(self.entry)
            ties = Ties(self.entry.name, self.claim.control.fileno(), report_out, lifeline_in)
            box = self._spawn(ties)
            self.claim.control.close()
            os.close(report_out)
            os.close(lifeline_in)
            self._follow(report_in, box)
            return self._code(box.wait())

    def _spawn(self, ties: Ties) -> subprocess.Popen[bytes]:
        user = AS_USER if os.geteuid() else ()
        unshare = (UNSHARE[0], *user, *UNSHARE[1:])
        # Python that is interrupted while it starts prints a traceback: the inside takes Ctrl-C when it can (early.py)
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return subprocess.Popen(
                [*unshare, "tini", "-s", "-p", "SIGKILL", "--", sys.executable, *self.argv],
                env={
                    **environment.clean(os.environ),
                    BOX_VARIABLE: json.dumps(asdict(ties)),
                },
                pass_fds=(ties.control, ties.report, ties.lifeline),
                preexec_fn=die_with_parent(os.getpid()),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)

    def _follow(self, report: int, box: subprocess.Popen[bytes]) -> None:
        """Take the inside's reports until it closes the pipe by leaving."""
        with os.fdopen(os.dup(report)) as lines:
            for line in lines:
                news = json.loads(line)
                if "code" in news:
                    self.code = news["code"]
                    continue
                self.entry = replace(self.entry, pid=_first_child(box.pid), **news)
                self.claim.write(self.entry)
                if self.entry.phase == "up" and self.ready:
                    self.ready()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Ask the inside to leave in order; do not wait for ever."""
        if self.stopping:
            return
        self.stopping = number
        with suppress(OSError):
            os.write(self.lifeline, STOP)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.alarm(int(GRACE_SECONDS))

    def _code(self, status: int) -> int:
        """The exit code: the one that the inside reported; unshare has a 1 of its own, and ours means a failed claim.

        Raises KeyboardInterrupt for Ctrl-C, whichever side of the box heard it.
        """
        signal.alarm(0)
        if self.stopping == signal.SIGTERM:
            return EXIT_INTERRUPTED
        if self.stopping or status == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        if self.code is None:
            raise FoobarError(f"the box ended before its work was done (status {status}); nothing is left of it")
        return self.code


def _first_child(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return 0
