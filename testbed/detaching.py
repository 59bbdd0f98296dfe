"""Work that goes on in the background when its command has returned, and processes that end with their parent."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from testbed.commandline import guarded
from topo.errors import EXIT_BROKEN, EXIT_HOLDS
from topo.plaintext import say

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent(parent: int) -> Callable[[], None]:
    """A function for a new process to call first, so that the kernel ends it when its parent has died."""

    def set_up() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(EXIT_BROKEN)

    return set_up


def in_background(work: Callable[[Callable[[], None]], int]) -> int:
    """Run ``work`` in a background process; return when it calls its argument, or with its code when it ends.

    What it prints until then is passed on from pipes, so that nothing in the background holds this terminal (or the
    pipe of a script that waits for our output to end). Until then it also ends when this process does.
    """
    out, outs = os.pipe()
    err, errs = os.pipe()
    ready, readies = os.pipe()
    if sys.stdout.isatty():
        os.environ |= {"FORCE_COLOR": "1", "COLUMNS": str(os.get_terminal_size().columns)}
    tie = die_with_parent(os.getpid())
    # a Ctrl-C while Python's own work after a fork is being done would be printed and forgotten
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        os.setsid()
        tie()
        for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, outs), (2, errs)):
            os.dup2(source, descriptor)
        for descriptor in (out, outs, err, errs, ready):
            os.close(descriptor)
        _stream_anew()
        _exit_with(lambda: work(lambda: _go_quiet(readies)))
    for descriptor in (outs, errs, readies):
        os.close(descriptor)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
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
                with suppress(OSError):  # nothing takes it any more
                    os.write(target, text)


def _stream_anew() -> None:
    """A stream that was made for a file would look for its place in the pipe that it leads to now."""
    out, err = (stream.encoding for stream in (sys.stdout, sys.stderr))
    sys.stdout = open(1, "w", encoding=out, closefd=False)  # noqa: SIM115 - it is the process's own
    sys.stderr = open(2, "w", encoding=err, closefd=False, buffering=1)  # noqa: SIM115


def _exit_with(work: Callable[[], int]) -> NoReturn:
    code = EXIT_BROKEN
    try:
        code = guarded(work)
    except Exception as error:  # before the work, or after it: whatever it is, it is said
        traceback.print_exc()
        say(f"foobar: unexpected {type(error).__name__}: {error}", error=True)
    finally:
        with suppress(OSError):
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
