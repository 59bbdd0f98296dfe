"""gunicorn's worker with threads, which sends an answer in one piece.

gunicorn itself sends head and body one after the other. Killed in between, it leaves a head that says 200: a proxy
that has passed that on to the visitor cannot ask another server any more.
"""

from __future__ import annotations

import socket
from typing import Any, BinaryIO

from gunicorn.workers.gthread import ThreadWorker


class Whole:
    """A connection that keeps what is sent until the answer is complete; in all else it is the socket.

    Every way of sending is either here or refused: one that reached the socket by itself would overtake what is kept.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._kept = bytearray()

    def sendall(self, data: bytes) -> None:
        self._kept += data

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        """Keep a piece of a file, too."""
        file.seek(offset)
        piece = file.read(-1 if count is None else count)
        self.sendall(piece)
        return len(piece)

    def send(self, data: bytes) -> int:
        """At once, because it is no part of the answer: gunicorn says "100 Continue" by it before it reads a body."""
        return self.connection.send(data)

    def flush(self) -> None:
        """Send it all, in one call."""
        if self._kept:
            self.connection.sendall(self._kept)
            self._kept = bytearray()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("send"):
            raise AttributeError(f"{type(self).__name__} does not keep what {name} sends")
        return getattr(self.connection, name)


class Worker(ThreadWorker):  # type: ignore[misc]
    """For answers that fit in memory, as all of the site's do."""

    def handle_request(self, req: Any, conn: Any) -> Any:
        """True if the connection is kept; an answer that broke off is not sent at all."""
        bare, conn.sock = conn.sock, Whole(conn.sock)
        try:
            kept = super().handle_request(req, conn)
            conn.sock.flush()
        finally:
            conn.sock = bare
        return kept
