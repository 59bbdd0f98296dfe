"""The log writer: rsyslogd gives it line after line, and confirms to the shippers what this has confirmed.

A process of the log collector's: ``python -S logwriter.py FILE BYTES PIECES``. rsyslogd itself drops what finds no room
on its disk; here such a line is refused, so it comes again, and the shippers wait. It is small, and always there.
"""

import os
import sys
from collections.abc import Iterable, Iterator

from services.waf.refusal import as_stored


class Pieces:
    """``path`` is written to; full, it becomes ``path.1``, and so on; never more than ``most`` of them are kept."""

    def __init__(self, path: str, size: int, most: int) -> None:
        self.path, self.size, self.most = path, size, most
        self._open()

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._written = os.fstat(self._file).st_size

    def write(self, line: bytes) -> None:
        """Write a whole line, or raise OSError with none of it written."""
        if self._written + len(line) > self.size:
            self._begin_anew()
        try:
            if os.write(self._file, line) < len(line):
                raise OSError("no room")
        except OSError:
            os.ftruncate(self._file, self._written)
            raise
        self._written += len(line)

    def _begin_anew(self) -> None:
        os.close(self._file)
        names = [self.path, *(f"{self.path}.{number}" for number in range(1, self.most))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if os.path.exists(newer):
                os.rename(newer, older)
        self._open()


def confirmations(pieces: Pieces, lines: Iterable[bytes]) -> Iterator[str]:
    """The answers that rsyslogd awaits: OK when ready, and then one to each line; one that got no OK comes again."""
    yield "OK"
    for line in lines:
        try:
            pieces.write(as_stored(line))
        except OSError as error:
            yield f"Error: {error}"
        else:
            yield "OK"


def main(path: str, size: str, most: str) -> None:
    """Write until rsyslogd ends."""
    for answer in confirmations(Pieces(path, int(size), int(most)), sys.stdin.buffer):
        print(answer, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
