"""Asking a running testbed, from another process, over the socket beside its state file."""

from __future__ import annotations

from typing import Any

from controllers import jsonsocket
from testbed.state import Entry, folder

#: within which a testbed says that it has heard a request, however long the answer takes
HEARD_SECONDS = 2.0


def ask(entry: Entry, request: str, **arguments: Any) -> Any:
    """The answer of a running testbed. Raises RefusedError when it does not answer, FoobarError when it says no."""
    path, who = folder() / f"{entry.name}.sock", f"testbed {entry.name}"
    return jsonsocket.exchange(path, who, request, heard=HEARD_SECONDS, **arguments)
