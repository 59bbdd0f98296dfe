"""The balancer's write endpoint, by HAProxy's runtime commands over one kept connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from services import mutualtls

BACKEND = "db-write"
PROMPT = b"\n> "
SECONDS = 0.3
FORCED_MAINTENANCE = 0x01


class WriteEndpoint:
    """The choice of the one of ``servers`` that gets the writes. Every method may raise OSError.

    ``tls``: files with the ``authority`` that has issued the balancer's certificate, and the ``proof`` shown to it;
    None where it is asked in plain text.
    """

    def __init__(self, address: tuple[str, int], servers: Sequence[str], tls: Mapping[str, str] | None = None) -> None:
        self.address = address
        self.servers = tuple(servers)
        self._tls = mutualtls.caller(**tls) if tls else None
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def routed(self) -> str | None:
        """The one server that is not in maintenance; None when there is none, or more than one."""
        rows = [line.split() for line in self._ask(f"show servers state {BACKEND}").splitlines()]
        ready = [row[3] for row in rows if len(row) > 6 and row[1] == BACKEND and not int(row[6]) & FORCED_MAINTENANCE]
        return ready[0] if len(ready) == 1 else None

    def close(self, server: str) -> None:
        """No more connections to a server, and an end to those that are open."""
        self._ask(f"set server {BACKEND}/{server} state maint", f"shutdown sessions server {BACKEND}/{server}")

    def route(self, server: str) -> None:
        """Writes go to this server and to no other."""
        others = [name for name in self.servers if name != server]
        closing = [f"set server {BACKEND}/{name} state maint" for name in others]
        ending = [f"shutdown sessions server {BACKEND}/{name}" for name in others]
        opening = [f"set server {BACKEND}/{server} state ready"]
        self._ask(*closing, *opening, *ending)

    def _ask(self, *commands: str) -> str:
        """Its answers to the commands, which are sent all at once."""
        with self._lock:
            try:
                return self._exchange(commands)
            except OSError:
                self._drop()
            try:  # on a new connection: the balancer may have been restarted
                return self._exchange(commands)
            except OSError:
                self._drop()
                raise

    def _exchange(self, commands: Sequence[str]) -> str:
        if self._connection is None:
            self._connection = socket.create_connection(self.address, SECONDS)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                self._connection = self._tls.wrap_socket(self._connection, server_hostname=self.address[0])
            self._connection.sendall(b"prompt\n")
            self._read(1)
        self._connection.sendall("; ".join(commands).encode() + b"\n")
        return self._read(len(commands))

    def _read(self, answers: int) -> str:
        """Each command's answer ends with a prompt, though they were sent in one line."""
        assert self._connection is not None
        text = b""
        while text.count(PROMPT) < answers:
            part = self._connection.recv(65536)
            if not part:
                raise ConnectionResetError("the balancer ended the connection")
            text += part
        return text.replace(PROMPT, b"").decode(errors="replace")

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        self._connection = None
