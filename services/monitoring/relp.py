"""RELP, as much of it as log shippers and their collector speak: numbered frames that are answered one by one.

Pure: bytes in, frames and answers out. A frame has as many lines as have come, for many together cost little more than
one.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

#: a frame's number, command and length; then come a space and so many bytes, or none; and the end of a line
HEADER = re.compile(rb"(\d{1,9}) ([a-z]{1,32}) (\d{1,9})([ \n])")
HEADER_BYTES = 64
#: bytes of a frame: a longer one holds no log lines
LONGEST = 2**22
OFFER = b"relp_version=0\nrelp_software=foobar\ncommands=syslog"


class Frame(NamedTuple):
    """``number`` names it in its answer; ``content`` is lines, where it is a ``syslog``."""

    number: bytes
    command: bytes
    content: bytes


class Frames:
    """The frames of one connection. What has come of the next one is kept."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, content: bytes) -> Iterator[Frame]:
        """Those that have come to their end. Raises ValueError for bytes that are none."""
        self._rest += content
        buffer, begin = self._rest, 0
        while found := HEADER.match(buffer, begin):
            number, command, length, space = found.groups()
            first = found.end()
            last = first + int(length) - (space == b"\n")  # one without content has no space before its end
            if int(length) > LONGEST:
                raise ValueError(f"a frame of {int(length)} bytes")
            if last >= len(buffer):
                break
            if buffer[last] != ord("\n"):
                raise ValueError("a frame without an end")
            yield Frame(number, command, buffer[first:last])
            begin = last + 1
        self._rest = buffer[begin:]
        if found is None and len(self._rest) >= HEADER_BYTES:
            raise ValueError("no frame")


def answer(frame: Frame) -> bytes:
    """The confirmation of a frame."""
    if frame.command == b"close":
        return b"%s rsp 0\n0 serverclose 0\n" % frame.number
    said = b"200 OK\n" + OFFER if frame.command == b"open" else b"200 OK"
    return framed(frame.number, b"rsp", said)


def framed(number: bytes, command: bytes, content: bytes) -> bytes:
    """A frame as it travels; ``content`` is not empty."""
    return b"%s %s %d %s\n" % (number, command, len(content), content)
