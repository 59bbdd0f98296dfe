"""Asking a running testbed, from another process, over the socket beside its state file."""

from __future__ import annotations

from typing import Any

from controllers import jsonsocket
from testbed.state import Entry, folder


def ask(entry: Entry, request: str, **arguments: Any) -> Any:
    """The answer of a running testbed. Raises RefusedError when it does not answer, FoobarError when it says no."""
    return jsonsocket.exchange(folder() / f"{entry.name}.sock", f"testbed {entry.name}", request, **arguments)
