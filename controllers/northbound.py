"""Asking the controller for something: a socket on the monitoring host, as an out-of-band management port would be.

    fence {"host": "srv1"}     nothing to or from that host's database passes any more, open connections included
    unfence {"host": "srv1"}   it passes again
    fences {}                  the fenced hosts
    samples {}                 how many packets the switches have sent it, and the processor time it has used
    reload {}                  the controller's file of flows has been replaced: the switches get what has changed

One JSON object asked, one answered (jsonsocket.py). ``fence`` and ``unfence`` are answered when every switch has
confirmed with a barrier reply: {"switches": ["fw1"], "ms": 1.2, "fences": ["srv1"]}. Both may be asked twice.

A Unix socket is reached by its path, whatever network namespace one is in: so the network's faults cannot keep the
monitoring host from its controller, and no other host has the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controllers import jsonsocket

#: where the monitoring host sees the socket
SOCKET = Path("/run/controller/northbound.sock")


def ask(request: str, *, socket: Path = SOCKET, **arguments: Any) -> Any:
    """The controller's answer. Raises RefusedError when nobody answers, FoobarError when it cannot be done."""
    return jsonsocket.exchange(socket, "the controller", request, **arguments)
