"""The log writer, the log collector's process: ``python -S -m services.monitoring.logwriter CONFIG.json``.

It takes lines by RELP from the shippers, writes all that have come at once, and confirms them then. What finds no room
on its disk is not confirmed: the connection is closed, the shipper makes another and sends it again. It is small.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from services.monitoring import relp
from services.waf.refusal import as_stored

#: read of a connection at once
BLOCK = 2**18
#: s: a host that says nothing for so long is asked whether it is there, and then this often
IDLE, AGAIN, TIMES = 10, 5, 3
#: s in which a shipper must have shown its certificate
GREETING = 10.0


class LineStream(Protocol):
    """A socket, or one in TLS."""

    def recv(self, most: int, /) -> bytes: ...
    def sendall(self, content: bytes, /) -> None: ...


Wrap = Callable[[socket.socket], LineStream]


class Pieces:
    """``path`` is written to; full, it becomes ``path.1``, and so on; never more than ``most`` of them are kept."""

    def __init__(self, path: str, size: int, most: int) -> None:
        self.path, self.size, self.most = path, size, most
        self._turn = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        self._written = os.fstat(self._file).st_size

    def write(self, lines: bytes) -> None:
        """Write whole lines, or raise OSError with none of them written."""
        with self._turn:
            if self._written + len(lines) > self.size:
                self._begin_anew()
            try:
                if os.write(self._file, lines) < len(lines):
                    raise OSError("no room")
            except OSError:
                os.ftruncate(self._file, self._written)
                raise
            self._written += len(lines)

    def _begin_anew(self) -> None:
        os.close(self._file)
        names = [self.path, *(f"{self.path}.{number}" for number in range(1, self.most))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if os.path.exists(newer):
                os.rename(newer, older)
        self._open()


def confirmed(pieces: Pieces, frames: list[relp.Frame]) -> bytes:
    """The answers to frames, whose lines are written by then. Raises OSError where there is no room for them."""
    if lines := [as_stored(frame.content) + b"\n" for frame in frames if frame.command == b"syslog"]:
        pieces.write(b"".join(lines))
    return b"".join(map(relp.answer, frames))


def serve(connection: LineStream, pieces: Pieces) -> None:
    """A shipper's lines, until it goes. Raises OSError or ValueError where they cannot be taken."""
    frames = relp.Frames()
    while content := connection.recv(BLOCK):
        if complete := [*frames.of(content)]:
            connection.sendall(confirmed(pieces, complete))


def encrypted(authority: str, proof: str, clients: list[str]) -> Wrap:
    """Connections become TLS, of those alone who show a certificate with one of these names."""
    from services.monitoring import sealedconnection  # takes memory, and is not needed where nothing is encrypted

    context = sealedconnection.context(authority, proof)
    return lambda connection: sealedconnection.Sealed(connection, context, clients)


def _take(connection: socket.socket, peer: str, pieces: Pieces, wrap: Wrap) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("KEEPIDLE", IDLE), ("KEEPINTVL", AGAIN), ("KEEPCNT", TIMES)):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), value)
        connection.settimeout(GREETING)
        sealed = wrap(connection)
        connection.settimeout(None)
        serve(sealed, pieces)
    except (OSError, ValueError) as error:
        print(f"{peer}: {error}", file=sys.stderr, flush=True)
    finally:
        connection.close()


def main(config: str) -> None:
    """Serve until killed; what is not confirmed then comes again."""
    given = json.loads(Path(config).read_text())
    pieces = Pieces(given["log"], given["bytes"], given["pieces"])
    wrap = encrypted(**given["tls"]) if given["tls"] else lambda connection: connection
    with socket.create_server(("", given["port"])) as server:
        while True:
            connection, (peer, _) = server.accept()
            threading.Thread(target=_take, args=(connection, peer, pieces, wrap), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
