"""Requests between processes: one JSON object asked, one answered, over a Unix socket of its user's and group's.

Before its answer, which may take its time, a process says that it has heard the request: so one that is stopped or
hangs is told from one that is at work.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from topo.errors import EXIT_BROKEN, FoobarError, RefusedError, UsageError
from topo.wait import patience

Handler = Callable[..., Any]
#: to say that it was heard, and to answer: no request takes longer than the healing of a host without power
HEARD_SECONDS, SECONDS = 5.0, 300.0
HEARD = {"heard": True}
# an error that crosses a socket keeps its kind, as far as exit codes tell kinds apart
KINDS = {kind.exit_code: kind for kind in (FoobarError, RefusedError, UsageError)}


def listening(path: Path) -> int:
    """The descriptor of a new socket, in the place of what a process before has left; ``serve`` takes it."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    path.chmod(0o660)
    made.listen()
    return made.detach()


def exchange(
    path: Path,
    who: str,
    request: str,
    *,
    heard: float = HEARD_SECONDS,
    seconds: float | None = None,
    **arguments: Any,
) -> Any:
    """Ask the process that listens on a socket; ``who`` is its name in errors, ``heard`` how soon it must react.

    ``seconds``: for those who cannot wait longer, neither for its reaction nor for its answer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(heard * patience() if seconds is None else seconds)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"request": request, "arguments": arguments}).encode() + b"\n")
            answer = _answered(connection, SECONDS * patience() if seconds is None else seconds)
        except (OSError, ValueError) as error:
            raise RefusedError(f"{who} does not answer ({error}); it may be booting or leaving") from None
    if not isinstance(answer, dict):
        raise RefusedError(f"{who} left without an answer")
    if "error" in answer:
        raise KINDS[answer.get("exit_code", EXIT_BROKEN)](answer["error"])
    return answer["value"]


def _answered(connection: socket.socket, seconds: float) -> Any:
    with connection.makefile() as stream:
        answer = json.loads(stream.readline() or "null")
        if answer == HEARD:
            connection.settimeout(seconds)
            answer = json.loads(stream.readline() or "null")
        return answer


def serve(descriptor: int, handlers: Mapping[str, Handler]) -> None:
    """Answer on a listening socket, with a background thread for each connection, until the process ends."""
    listening = socket.socket(fileno=descriptor)

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=answer, args=(connection, handlers), daemon=True).start()

    threading.Thread(target=accept, daemon=True, name="control").start()


def answer(connection: socket.socket, handlers: Mapping[str, Handler]) -> None:
    """Read one request from a connection and answer it with its value or its error."""
    # a client that has gone away takes no answer
    with suppress(OSError), connection, connection.makefile("rw") as stream:
        try:
            asked = json.loads(stream.readline())
            handler, arguments = handlers[asked["request"]], asked["arguments"]
            stream.write(json.dumps(HEARD) + "\n")
            stream.flush()
            reply: dict[str, Any] = {"value": handler(**arguments)}
        except FoobarError as error:  # an error of ours is a line that stands for itself
            reply = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # any other error is answered too, and the testbed goes on
            reply = {"error": f"{type(error).__name__}: {error}"}
        stream.write(json.dumps(reply) + "\n")
