"""The log sender, the log shipper's process: ``python -S -m services.monitoring.logsender CONFIG.json``.

The log files are its queue. At each look it takes what has come into them, sends it in few pieces, and notes how far
it has come when all of that is confirmed. It is small.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Protocol

from services.monitoring import relp
from services.monitoring.logfollower import LogFollower, LogPlace

#: s between two looks; s for which a confirmation is waited for; s until a connection that failed is tried again
EVERY, PATIENCE, AGAIN = 0.5, 3.0, 1.0
#: bytes of a log that are read at once; of a line: a longer one is refused; of a piece that is sent, when it is full
LOOK_BYTES, LINE_BYTES, PIECE_BYTES = 2**20, 2**19, 2**18
#: bytes before a place that are noted with it
NOTED_BYTES = 512
#: of bytes in JSON
BYTES = "latin-1"
#: when a place is noted: what was only read may still be lost, with this process
CONFIRMED, READ = "confirmed", "read"


class Connected(Protocol):
    """A socket, or one in TLS."""

    def recv(self, most: int, /) -> bytes: ...
    def sendall(self, content: bytes, /) -> None: ...
    def close(self) -> None: ...


class Notes:
    """The places in the logs, in a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> dict[str, LogPlace]:
        """Those that are noted; none where the file is not there, or is none of ours."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            return {log: _place(*row) for log, row in json.loads(Path(self.path).read_text()).items()}
        return {}

    def write(self, places: Mapping[str, LogPlace]) -> None:
        """Without room what was noted before stays: more is sent again then."""
        rows = {
            log: (at.offset, at.last[-NOTED_BYTES:].decode(BYTES), at.rest.decode(BYTES), at.in_moved, at.overlong)
            for log, at in places.items()
        }
        part = f"{self.path}.part"
        with suppress(OSError):
            Path(part).write_text(json.dumps(rows))
            os.replace(part, self.path)


def _place(offset: int, last: str, rest: str, in_moved: bool, overlong: bool) -> LogPlace:
    return LogPlace(offset, last.encode(BYTES), rest.encode(BYTES), in_moved, overlong)


class Queue:
    """The logs of a host. ``logs``: (service, path) of each."""

    def __init__(self, host: str, logs: list[tuple[str, str]], places: Mapping[str, LogPlace]) -> None:
        self.followers = {
            path: LogFollower(path, LOOK_BYTES, LINE_BYTES, places.get(path, LogPlace())) for _, path in logs
        }
        self._heads = {
            path: json.dumps({"host": host, "service": service, "file": path}, separators=(",", ":"))[:-1].encode()
            for service, path in logs
        }

    def pieces(self) -> Iterator[bytes]:
        """Rows of the log store, some to a piece: of all that has come since the last look."""
        rows, size = [], 0
        middle = f',"read":"{datetime.now(timezone.utc).isoformat()}","line":'.encode()
        for path, follower in self.followers.items():
            head = self._heads[path] + b',"offset":'
            for offset, line in follower.numbered():
                text = encode_basestring(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
                rows.append(b"%s%d%s%s}" % (head, offset, middle, text))
                size += len(rows[-1])
                if size >= PIECE_BYTES:
                    yield b"\n".join(rows)
                    rows, size = [], 0
        if rows:
            yield b"\n".join(rows)

    @property
    def places(self) -> dict[str, LogPlace]:
        return {path: follower.place for path, follower in self.followers.items()}

    @property
    def behind(self) -> bool:
        return any(follower.behind for follower in self.followers.values())

    @property
    def refused(self) -> int:
        return sum(follower.refused for follower in self.followers.values())


class RelpClient:
    """One connection at a time; ``connect`` makes it."""

    def __init__(self, connect: Callable[[], Connected]) -> None:
        self._connect = connect
        self._connection: Connected | None = None
        self._number, self._frames = 0, relp.Frames()

    def send(self, piece: bytes) -> None:
        """Return when it is confirmed. Raises OSError or ValueError; the next one begins with a new connection."""
        try:
            if self._connection is None:
                self._connection, self._number, self._frames = self._connect(), 0, relp.Frames()
                self._ask(b"open", relp.OFFER)
            self._ask(b"syslog", piece)
        except BaseException:
            self.close()
            raise

    def _ask(self, command: bytes, content: bytes) -> None:
        assert self._connection is not None
        self._number += 1
        self._connection.sendall(relp.framed(b"%d" % self._number, command, content))
        while True:
            for said in self._frames.of(self._connection.recv(2**16) or self._ended()):
                if not said.content.startswith(b"200"):
                    raise OSError(f"refused: {said.content[:80].decode(errors='replace')}")
                return

    @staticmethod
    def _ended() -> bytes:
        raise OSError("it closed the connection")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def encrypted(authority: str, proof: str, name: str) -> Callable[[socket.socket], Connected]:
    """Connections become TLS 1.3, in which both sides prove who they are. ``name``: the other's."""
    from services import mutualtls  # takes memory, and is not needed where nothing is encrypted

    context = mutualtls.caller(authority, proof)
    return lambda connection: context.wrap_socket(connection, server_hostname=name)


def ship(queue: Queue, client: RelpClient, notes: Notes, noted: str = CONFIRMED) -> None:
    """One look: return when all that was found is confirmed and noted."""
    refused, pieces = queue.refused, [*queue.pieces()]
    if queue.refused > refused:
        print(f"{queue.refused - refused} lines longer than {LINE_BYTES} bytes were refused", flush=True)
    if pieces and noted == READ:
        notes.write(queue.places)
    complained = False
    while pieces:
        try:
            client.send(pieces[0])
            del pieces[0]
        except (OSError, ValueError) as error:
            if not complained:  # once: this log is shipped as well
                print(f"lines wait: {error}", flush=True)
            complained = True
            time.sleep(AGAIN)
            continue
        if not pieces:
            notes.write(queue.places)


def main(config: str) -> None:
    """Ship until killed."""
    given: dict[str, Any] = json.loads(Path(config).read_text())
    notes = Notes(given["notes"])
    queue = Queue(given["host"], given["logs"], notes.read())
    wrap = encrypted(**given["tls"]) if given["tls"] else lambda connection: connection

    def connect() -> Connected:
        plain = socket.create_connection((given["address"], given["port"]), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wrap(plain)

    client = RelpClient(connect)
    while True:
        ship(queue, client, notes, given["noted"])
        if not queue.behind:
            time.sleep(EVERY)


if __name__ == "__main__":
    main(*sys.argv[1:])
