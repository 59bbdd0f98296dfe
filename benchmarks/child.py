"""Running a benchmark's part in a box of its own, as a process that cannot outlive this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from benchmarks.comparison import Size, Tell
from topo.errors import FoobarError
from topo.paths import PROJECT

END_SECONDS = 20.0
LONGEST_NAME = 31


class Child:
    """A running one. ``pid`` is the launcher's: all processes of the box are below it."""

    def __init__(self, benchmark: str, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.benchmark = benchmark
        self.pid = process.pid
        self._process = process
        self._errors = errors

    def answer(self, question: str, tell: Tell) -> Any:
        """Give a body that waits for it a line; its result."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._broken() from None
        return self.result(tell)

    def result(self, tell: Tell) -> Any:
        """The body's result; it stays in its box. Raises FoobarError, with its own words, when it broke."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            report = json.loads(line)
            if report["report"] == "result":
                return report["content"]
            tell(report["content"])
        raise self._broken()

    def end(self) -> None:
        """End it and wait: SIGTERM, which undoes everything in order, then SIGKILL."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _broken(self) -> FoobarError:
        code = self._process.wait()
        self._errors.seek(0)
        first, _, rest = self._errors.read().strip().partition("\n")
        reason = first.removeprefix("foobar: ") or f"ended with exit code {code} and no result"
        return FoobarError(f"benchmark {self.benchmark}: {reason}", detail=rest)


def box_name(benchmark: str, flags: Sequence[str], pid: int) -> str:
    """A box's name: benchmark, the flags' values, pid; as long as a name may be."""
    words = ["bench", benchmark, *(flag for flag in flags if not flag.startswith("-"))]
    tail = f"-{pid}"
    return "-".join(words).replace("_", "-")[: LONGEST_NAME - len(tail)].rstrip("-") + tail


@contextmanager
def running(
    benchmark: str, size: Size, environment: Mapping[str, str] | None = None, flags: Sequence[str] = ()
) -> Iterator[Child]:
    """``benchmark``'s body at work in a new box, until the block is left. ``flags``: the profile's, if not ``seed``."""
    program = [sys.executable, "-m", "benchmarks.inside", benchmark]
    options = [
        f"--name={box_name(benchmark, flags, os.getpid())}",
        f"--pairs={size.pairs}",
        f"--seconds={size.seconds}",
        *flags,
    ]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *program, *options],
            cwd=PROJECT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        child = Child(benchmark, process, errors)
        try:
            yield child
        finally:
            child.end()


def result(benchmark: str, size: Size, tell: Tell) -> Any:
    """Run a body to its result and end its box."""
    with running(benchmark, size) as child:
        return child.result(tell)


def in_turns(
    benchmark: str, size: Size, tell: Tell, variants: Mapping[str, Sequence[str]], kinds: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """A box for each variant (with these flags), side by side; each is asked each kind of question, in turns.

    By kind, the answers of each pair by variant.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        boxes = {name: stack.enter_context(running(benchmark, size, flags=flags)) for name, flags in variants.items()}
        for box in boxes.values():
            box.result(tell)
        order = list(variants)
        for pair in range(size.pairs):
            tell(f"pair {pair + 1} of {size.pairs}")
            for kind, rows in found.items():
                rows.append({name: boxes[name].answer(kind, tell) for name in order})
            order.append(order.pop(0))
    return found
