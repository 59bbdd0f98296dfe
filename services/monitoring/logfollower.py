"""Following a log: each of its lines once, whether it grows, is emptied when it is full (logfiles.py), or by hand.

What was read last is remembered, not only its place: so a log that was emptied and has grown again is told from one
that has only grown. What a rotation has moved is read to its end under its new name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from services import logfiles
from topo import folders

#: a longer line is refused
LINE_BYTES = 2**16
#: read in one look: a log that is longer is caught up with in the next ones
LOOK_BYTES = 2**22
#: of what was read last
REMEMBERED = 2**14


class LogFollower:
    """``refused``: the lines that were too long. ``behind``: whether there is more to be read."""

    def __init__(self, path: str, look_bytes: int = LOOK_BYTES) -> None:
        self._path = path
        self._look_bytes = look_bytes
        self._in_moved = True  # what was there before the first look is read as well
        self._offset = 0
        self._last = b""
        self._rest = b""
        self._overlong = False
        self.refused = 0
        self.behind = False

    def lines(self) -> Iterator[bytes]:
        """The lines that have come to their end since the last look."""
        new = self._new()  # which may forget the rest
        *lines, rest = (self._rest + new).split(b"\n")
        for line in lines:
            if self._overlong or len(line) > LINE_BYTES:
                self.refused += 1
                self._overlong = False
            elif line:
                yield line
        self._overlong = self._overlong or len(rest) > LINE_BYTES
        self._rest = b"" if self._overlong else rest

    def all_lines(self) -> Iterator[bytes]:
        """The same, in as many looks as it takes."""
        while True:
            yield from self.lines()
            if not self.behind:
                return

    def _new(self) -> bytes:
        """The bytes that have come, as far as one look goes."""
        with _Opened(self._path) as log:
            if not self._in_moved and self._continues(log, self._offset):
                return self._read(log, self._offset)
            with _Opened(logfiles.before(self._path)) as moved:
                return self._moved(moved, log)

    def _moved(self, moved: _Opened, log: _Opened) -> bytes:
        """The log was emptied: its content is elsewhere, or gone."""
        if self._continues(moved, self._offset):
            self._in_moved = True
            rest = self._read(moved, self._offset)
            return rest if self.behind else rest + self._from_start(log, 0)
        # lines that came while it was moved, and were read before it was emptied, stand in both files
        if (again := self._offset - moved.size) > 0 and self._continues(log, again, moved):
            return self._from_start(log, again) if log.size >= again else b""
        self._rest, self._overlong = b"", False
        return self._from_start(log, 0)

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
