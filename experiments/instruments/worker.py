"""Workers: programs of ours that work on an emulated host and are led from here, all by one protocol.

A worker's standard input is a line of JSON, its settings, and then the words ``pause`` and ``resume``; when it ends,
the worker finishes what it has begun and ends too. Each line of its output is a result in JSON, or ``"paused"`` once
nothing is under way. The program calls `serve` with its job; a worker that dies is an error with its own words.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from testbed.namespaces import put_ahead
from topo import wait
from topo.errors import FoobarError
from topo.paths import PROJECT

if TYPE_CHECKING:
    from testbed.namespaces import Inside

PAUSE, RESUME, PAUSED = "pause", "resume", "paused"
PAUSE_SECONDS, END_SECONDS = 15.0, 15.0
#: room for results that are not read yet: their writer must not wait for a busy reader
PIPE_BYTES = 1 << 20
ENVIRONMENT = {"PYTHONPATH": str(PROJECT)}

Say = Callable[[object], None]


class Job(Protocol):
    """The work of a worker, in threads of its own."""

    def start(self) -> None: ...

    def pause(self) -> None:
        """Return when nothing is under way; nothing begins until ``resume``."""

    def resume(self) -> None: ...

    def end(self) -> None:
        """Return when all that had begun is done, or given up."""


class HostWorker:
    """``with HostWorker(...) as worker``: a program at work on a host, whose every result ``hear`` is told as a line.

    Leaving the block in order ends it and waits for what it has begun; leaving it by an error kills it. Every method
    raises FoobarError, with the program's words, once it has died.
    """

    def __init__(
        self, name: str, inside: Inside, program: str, settings: Mapping[str, Any], hear: Callable[[str], None]
    ) -> None:
        self.name = name
        self._hear = hear
        self._paused = threading.Event()
        self._problem = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = inside.popen(
            (sys.executable, "-m", program),
            environment=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        put_ahead(self._process)  # it shares the machine with those that answer
        fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[arg-type]
        self._listener = threading.Thread(target=self._listen, daemon=True, name=f"worker {name}")
        self._listener.start()
        self._say(json.dumps(settings))

    def __enter__(self) -> HostWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            self.kill()

    def pause(self) -> None:
        """Ask it to rest; `wait_paused` returns when it does."""
        self._paused.clear()
        self._say(PAUSE)

    def wait_paused(self) -> None:
        seconds = PAUSE_SECONDS * wait.patience()
        if not self._paused.wait(seconds):
            self.check()
            raise wait.late(f"{self.name} paused", seconds, detail=self._words())

    def resume(self) -> None:
        self._say(RESUME)

    def check(self) -> None:
        """Raise FoobarError, with its own words, when it has ended or its results could not be taken in."""
        if self._problem or self._process.poll() is not None:
            raise self._died()

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(OSError, ValueError):
                pipe.close()  # type: ignore[union-attr]

    def _end(self) -> None:
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        seconds = END_SECONDS * wait.patience()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise wait.late(f"{self.name} ended", seconds, detail=self._words()) from None
        self._listener.join()
        if code or self._problem or self._words():
            raise self._died()

    def _died(self) -> FoobarError:
        code = self._process.poll()
        how = self._problem or f"ended with status {code}"
        return FoobarError(f"{self.name}: {how}", detail=self._words())

    def _say(self, line: str) -> None:
        try:
            self._process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except (OSError, ValueError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            raise self._died() from None

    def _listen(self) -> None:
        try:
            for line in self._process.stdout:  # type: ignore[union-attr]
                if line == f'"{PAUSED}"\n':
                    self._paused.set()
                else:
                    self._hear(line)
        except Exception as error:  # whatever it is: a listener that dies silently would look like an idle worker
            self._problem = f"its results could not be taken in: {type(error).__name__}: {error}"

    def _words(self) -> str:
        """Its standard error so far."""
        with suppress(ValueError):  # closed already
            self._errors.seek(0)
            return self._errors.read().decode(errors="replace").strip()
        return ""


# --- on the host ---------------------------------------------------------------------------------------------------


def serve(job_of: Callable[[Any, Say], Job]) -> int:
    """A worker's main: make its job from the settings, and do as told until standard input ends."""
    threading.excepthook = _give_up
    talking = threading.Lock()

    def say(what: object) -> None:
        with talking:
            sys.stdout.write(json.dumps(what) + "\n")
            sys.stdout.flush()

    job = job_of(json.loads(sys.stdin.readline()), say)
    job.start()
    for line in sys.stdin:
        if line.strip() == PAUSE:
            job.pause()
            say(PAUSED)
        elif line.strip() == RESUME:
            job.resume()
    job.end()
    return 0


def _give_up(problem: threading.ExceptHookArgs) -> None:
    """A thread that fails takes its worker with it: one that went on without it would give wrong results."""
    threading.__excepthook__(problem)
    os._exit(3)
