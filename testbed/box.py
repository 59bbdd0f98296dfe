"""The box: own network, mount, pid, uts and ipc namespaces around a whole testbed.

A command that needs a box runs itself again inside one (``enter``). Outside stays the launcher: it holds the name's
lock, waits, and relays a wish to stop. Three ties make sure that nothing outlives it:

    the launcher dies      -> the kernel kills unshare      (parent-death signal, set before exec)
    unshare dies           -> the kernel kills pid 1        (--kill-child)
    pid 1 of the box dies  -> the kernel kills everything in the box; its links, mounts and namespaces go with it

and, should a signal be lost in the first instants of a process, the box also leaves when its lifeline, a pipe from the
launcher, is closed.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from testbed import preflight
from testbed.commandline import guarded
from testbed.state import Claim, Entry
from topo.early import BOX_VARIABLE
from topo.errors import EXIT_BROKEN, EXIT_HOLDS, EXIT_INTERRUPTED, FoobarError

HOME = Path("/run/foobar")
STOP, GRACE_SECONDS, AGAIN_SECONDS = b"s", 30.0, 1.0
PR_SET_PDEATHSIG = 1
SHOW_CURSOR = b"\x1b[?25h\r\n"  # the waterfall hides it
_libc = ctypes.CDLL(None)
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
AS_USER = ("--user", "--map-root-user")


@dataclass(frozen=True)
class Ties:
    """What the inside gets from the outside: its name and three descriptors."""

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


# --- outside ---------------------------------------------------------------------------------------------------


def enter(name: str, argv: list[str], profile: dict[str, Any], *, detach: bool = False) -> int:
    """Run ``python argv`` again inside a new box and return its exit code.

    With ``detach`` return as soon as the testbed is up; the launcher stays behind as a background process.
    Raises UsageError when the name is taken, MissingError when the machine lacks something.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    preflight.check(cluster=profile["db"] == "galera")
    if detach:
        return _in_background(lambda ready: _Launcher(name, argv, profile, ready).run())
    return _Launcher(name, argv, profile).run()


class _Launcher:
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
        return subprocess.Popen(
            [*unshare, "tini", "-s", "-p", "SIGKILL", "--", sys.executable, *self.argv],
            env={
                **os.environ,
                "PATH": _with_daemons(os.environ.get("PATH", "")),
                BOX_VARIABLE: json.dumps(asdict(ties)),
            },
            pass_fds=(ties.control, ties.report, ties.lifeline),
            preexec_fn=_die_with_parent(os.getpid()),
        )

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


def _with_daemons(path: str) -> str:
    """A search path that also finds what Debian keeps out of its users' way, such as ifconfig, which Mininet runs."""
    return f"{path}:{preflight.SYSTEM_PATH}"


def _die_with_parent(parent: int) -> Callable[[], None]:
    def set_up() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(EXIT_BROKEN)

    return set_up


def _first_child(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return 0


def _in_background(work: Callable[[Callable[[], None]], int]) -> int:
    """Run ``work`` in a background process; return when it calls its argument, or with its code when it ends.

    What it prints until then is passed on from pipes, so that nothing in the background holds this terminal (or the
    pipe of a script that waits for our output to end). Until then it also ends when this process does.
    """
    out, outs = os.pipe()
    err, errs = os.pipe()
    ready, readies = os.pipe()
    if sys.stdout.isatty():
        os.environ |= {"FORCE_COLOR": "1", "COLUMNS": str(os.get_terminal_size().columns)}
    tie = _die_with_parent(os.getpid())
    child = os.fork()
    if child == 0:
        os.setsid()
        tie()
        for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, outs), (2, errs)):
            os.dup2(source, descriptor)
        for descriptor in (out, outs, err, errs, ready):
            os.close(descriptor)
        _exit_with(lambda: work(lambda: _go_quiet(readies)))
    for descriptor in (outs, errs, readies):
        os.close(descriptor)
    try:
        _pass_on({out: 1, err: 2}, until=ready)
        if os.read(ready, 1):
            return EXIT_HOLDS
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    finally:
        for descriptor in (out, err, ready):
            os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _pass_on(sources: dict[int, int], until: int) -> None:
    """Copy each source to its target until ``until`` has something to say, and all that came before it."""
    done = False
    while not done:
        select.select([*sources, until], [], [])
        done = bool(select.select([until], [], [], 0)[0])
        for source, target in list(sources.items()):
            while select.select([source], [], [], 0)[0]:
                if not (text := os.read(source, 65536)):
                    del sources[source]
                    break
                os.write(target, text)


def _exit_with(work: Callable[[], int]) -> NoReturn:
    code = EXIT_BROKEN
    try:
        code = guarded(work)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _go_quiet(ready: int) -> None:
    silence()
    _libc.prctl(PR_SET_PDEATHSIG, 0)
    os.write(ready, b"1")
    os.close(ready)


def silence() -> None:
    """Give the terminal (or the pipe) back: from now on nothing is printed and nothing is read."""
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


# --- inside ----------------------------------------------------------------------------------------------------


class Interruption:
    """Ctrl-C and a wish to stop (SIGTERM), and a testbed that broke.

    During the boot a wish to leave is granted on the spot: nothing has been made yet that the kernel does not undo.
    Once up, it is SystemExit in the main thread, so that faults heal and results are saved. The launcher prints the
    line that says so, because Ctrl-C may come before there is anybody here to print it.

    An exception may be lost where Python swallows them, so it is raised again when the wish is repeated a while later;
    but not while things are being undone: half an undoing helps nobody.
    """

    def __init__(self) -> None:
        self._booting = True
        self._deaf_until = 0.0
        self._reason = ""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._asked_to_leave())
        signal.signal(signal.SIGUSR1, lambda *_: self._leave(FoobarError, self._reason))

    def booted(self) -> None:
        """From now on there is something to undo."""
        self._booting = False

    def broken(self, reason: str) -> None:
        """Called from any thread: the main thread leaves with a FoobarError that says the reason."""
        self._reason = reason
        os.kill(os.getpid(), signal.SIGUSR1)

    def _asked_to_leave(self) -> None:
        if self._booting:
            if os.isatty(1):
                os.write(1, SHOW_CURSOR)
            os._exit(EXIT_INTERRUPTED)
        self._leave(SystemExit, EXIT_INTERRUPTED)

    def _leave(self, how: type[BaseException], why: object) -> None:
        # the time first: a second signal may arrive while the exception is being made
        now = time.monotonic()
        if now >= self._deaf_until:
            self._deaf_until = now + AGAIN_SECONDS
            raise how(why)

    def ignore(self) -> None:
        """From now on things are being undone."""
        self._deaf_until = float("inf")


def _let_pass(_number: int, _frame: FrameType | None) -> None:
    pass


@contextmanager
def undisturbed() -> Iterator[None]:
    """While faults heal and evidence is saved, a wish to leave waits: the launcher repeats it, and half is no use.

    Does nothing in other threads than the main one, where signals do not arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # not SIG_IGN: a daemon started meanwhile would inherit it and could not be asked to stop
    before = {number: signal.signal(number, _let_pass) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def move_in(ties: Ties) -> None:
    """Make this new box a home: private /run, a loopback device, the lifeline watched."""
    threading.Thread(target=_watch_lifeline, args=(ties.lifeline,), daemon=True, name="lifeline").start()
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    _run("ip", "link", "set", "lo", "up")
    _run("hostname", "box")
    HOME.mkdir()


def report(ties: Ties, **news: Any) -> None:
    """Tell the launcher what other terminals should know (fields of state.Entry)."""
    os.write(ties.report, (json.dumps(news) + "\n").encode())


def _watch_lifeline(descriptor: int) -> None:
    if os.read(descriptor, 1) == STOP:
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.1 * AGAIN_SECONDS)
    os._exit(EXIT_BROKEN)


def _run(*argv: str) -> None:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise FoobarError(f"the box: {' '.join(argv)}: {result.stderr.strip()}")
