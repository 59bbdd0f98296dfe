"""Following a log: each of its lines once, whether it grows, is emptied when it is full (logfiles.py), or by hand.

What was read last is remembered, not only its place: so a log that was emptied and has grown again is told from one
that has only grown. What a rotation has moved is read to its end under its new name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from services import logfiles
from topo import folders

#: a longer line is refused
LINE_BYTES = 2**16
#: read in one look: a log that is longer is caught up with in the next ones
LOOK_BYTES = 2**22
#: of what was read last
REMEMBERED = 2**14


class LogPlace(NamedTuple):
    """A place up to which a log was read: ``offset``, before which ``last`` stands.

    ``rest``: of a line that had no end yet. ``in_moved``: in what was in the log before it was emptied. ``overlong``:
    in a line that is refused.
    """

    offset: int = 0
    last: bytes = b""
    rest: bytes = b""
    in_moved: bool = True  # so what was there before the first look is read as well
    overlong: bool = False


class LogFollower:
    """``refused``: the lines that were too long. ``behind``: whether there is more to be read.

    ``place``: where another one can go on.
    """

    def __init__(
        self,
        path: str,
        look_bytes: int = LOOK_BYTES,
        line_bytes: int = LINE_BYTES,
        place: LogPlace = LogPlace(),  # noqa: B008 - it cannot be changed
    ) -> None:
        self._path = path
        self._look_bytes = look_bytes
        self._line_bytes = line_bytes
        self._offset, self._last, self._rest, self._in_moved, self._overlong = place
        self.refused = 0
        self.behind = False

    def lines(self) -> Iterator[bytes]:
        """The lines that have come to their end since the last look."""
        return (line for _, line in self.numbered())

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """The same, each with the place at which it begins: below 0 for one that began before the log was emptied."""
        for begin, new in self._new():  # which may forget the rest
            begin -= len(self._rest)
            *lines, rest = (self._rest + new).split(b"\n")
            for line in lines:
                if self._overlong or len(line) > self._line_bytes:
                    self.refused += 1
                    self._overlong = False
                elif line:
                    yield begin, line
                begin += len(line) + 1
            self._overlong = self._overlong or len(rest) > self._line_bytes
            self._rest = b"" if self._overlong else rest

    def all_lines(self) -> Iterator[bytes]:
        """The same, in as many looks as it takes."""
        while True:
            yield from self.lines()
            if not self.behind:
                return

    @property
    def place(self) -> LogPlace:
        return LogPlace(self._offset, self._last, self._rest, self._in_moved, self._overlong)

    def _new(self) -> Iterator[tuple[int, bytes]]:
        """The bytes that have come, as far as one look goes, and where they stand."""
        with _Opened(self._path) as log:
            if not self._in_moved and self._continues(log, self._offset):
                yield self._offset, self._read(log, self._offset)
                return
            with _Opened(logfiles.before(self._path)) as moved:
                yield from self._moved(moved, log)

    def _moved(self, moved: _Opened, log: _Opened) -> Iterator[tuple[int, bytes]]:
        """The log was emptied: its content is elsewhere, or gone."""
        if self._continues(moved, self._offset):
            self._in_moved = True
            yield self._offset, self._read(moved, self._offset)
            if not self.behind:
                yield 0, self._from_start(log, 0)
            return
        # lines that came while it was moved, and were read before it was emptied, stand in both files
        if (again := self._offset - moved.size) > 0 and self._continues(log, again, moved):
            if log.size >= again:
                yield again, self._from_start(log, again)
            return
        self._rest, self._overlong = b"", False
        yield 0, self._from_start(log, 0)

    def _from_start(self, log: _Opened, offset: int) -> bytes:
        self._in_moved = False
        self._last = self._last[-offset:] if offset else b""
        return self._read(log, offset)

    def _read(self, log: _Opened, offset: int) -> bytes:
        content = log.read(offset, self._look_bytes)
        self.behind = len(content) == self._look_bytes
        self._offset = offset + len(content)
        self._last = (self._last + content)[-REMEMBERED:]
        return content

    def _continues(self, log: _Opened, offset: int, before: _Opened | None = None) -> bool:
        """True if what was read last stands before that place; ``before``: a file whose end is this one's beginning."""
        begin = offset - len(self._last)
        if begin >= 0:
            return log.size >= offset and log.read(begin, len(self._last)) == self._last
        if before is None:
            return False
        end, beginning = before.read(before.size + begin, -begin), log.read(0, offset)
        # what is not there yet is about to be written again
        return bool(end) and end + beginning == self._last[: len(end) + len(beginning)]


class _Opened:
    """A file that is read by places; an empty one in the place of what is not there, or is no plain file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> _Opened:
        self._descriptor, self.size = -1, 0
        with suppress(OSError):
            descriptor = os.open(self._path, folders.READ | os.O_NOFOLLOW)
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                self._descriptor, self.size = descriptor, status.st_size
            else:
                os.close(descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, most: int) -> bytes:
        return os.pread(self._descriptor, most, offset) if self._descriptor >= 0 else b""
