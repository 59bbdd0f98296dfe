"""Talking to a running testbed: one JSON object asked, one answered, over a socket that only its owner can open."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from topo.errors import FoobarError, RefusedError
from topo.state import Entry, folder

Handler = Callable[..., Any]
SECONDS = 60.0


def ask(entry: Entry, request: str, **arguments: Any) -> Any:
    """The answer of a running testbed. Raises RefusedError when it does not answer, FoobarError when it says no."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(str(folder() / f"{entry.name}.sock"))
            connection.sendall(json.dumps({"request": request, "arguments": arguments}).encode() + b"\n")
            with connection.makefile() as stream:
                answer = json.loads(stream.readline() or "null")
        except (OSError, ValueError) as error:
            raise RefusedError(
                f"testbed {entry.name} does not answer ({error}); it may be booting or leaving"
            ) from None
    if not isinstance(answer, dict) or "error" in answer:
        raise FoobarError(answer["error"] if answer else f"testbed {entry.name} left without an answer")
    return answer["value"]


def serve(descriptor: int, handlers: Mapping[str, Handler]) -> None:
    """Answer on a listening socket, from a background thread each, until the process ends."""
    listening = socket.socket(fileno=descriptor)

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_answer, args=(connection, handlers), daemon=True).start()

    threading.Thread(target=accept, daemon=True, name="control").start()


def _answer(connection: socket.socket, handlers: Mapping[str, Handler]) -> None:
    # an asker who has gone away takes no answer
    with suppress(OSError), connection, connection.makefile("rw") as stream:
        try:
            asked = json.loads(stream.readline())
            answer = {"value": handlers[asked["request"]](**asked["arguments"])}
        except Exception as error:  # whatever it is, the asker is told and the testbed lives on
            answer = {"error": f"{type(error).__name__}: {error}"}
        stream.write(json.dumps(answer) + "\n")
