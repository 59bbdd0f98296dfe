"""Standard input, output and errors as a command gets them: closed perhaps, full, or with a reader that has gone.

What cannot be printed must not end the work, nor change its exit code to Python's own 1, which means "the claim fails".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from topo.errors import EXIT_BROKEN, EXIT_FAILS, EXIT_HOLDS, EXIT_PIPE, EXIT_UNKNOWN
from topo.plaintext import say


class CheckedOutput:
    """Standard output that remembers its first error, for the exit code, whoever lives with it meanwhile."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Raises OSError, as any stream."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Raises OSError, as any stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self.error = self.error or error
            raise

    def exit_code(self, code: int) -> int:
        """The exit code of a command that would end with this one, when all that it printed is on its way."""
        with suppress(OSError):
            self.flush()
        if self.error is None:
            return code
        _lead_nowhere(self._stream)
        if code not in (EXIT_HOLDS, EXIT_FAILS, EXIT_UNKNOWN):
            return code
        if isinstance(self.error, BrokenPipeError):
            return EXIT_PIPE
        say(f"foobar: standard output: {self.error.strerror}", error=True)
        return EXIT_BROKEN

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class ForgivingErrors:
    """Standard error: when nothing can be said there any more, nothing is said."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _lead_nowhere(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _lead_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _lead_nowhere(stream: IO[str]) -> None:
    """Also what is still in its buffer: Python would try again at its exit, and end with 120."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def checked() -> Iterator[CheckedOutput]:
    """In this block all three are open, and what cannot be printed is remembered."""
    _open_closed()
    out, errors = sys.stdout, sys.stderr
    output, forgiving = CheckedOutput(out), ForgivingErrors(errors)
    sys.stdout, sys.stderr = output, forgiving
    try:
        yield output
    finally:
        forgiving.flush()
        sys.stdout, sys.stderr = out, errors


def _open_closed() -> None:
    """Closed ones lead nowhere, as /dev/null: else the next file that is opened would be taken for one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
            os.set_inheritable(descriptor, True)  # also if it was the next free one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed when Python began: what has its number now is another file
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it is the process's own
