"""Asking the controller for something: a socket on the monitoring host, in place of an out-of-band management port.

    put {"overlay": {...}}      an overlay is in force (controllers/overlay.py), in place of one of the same name
    fence {"host": "srv1"}      ... and so for every kind: nothing to or from its database passes any more
    block {"host": "attacker", "reason": "port scan"}     nothing that it sends goes on, for a time (blocks.py)
    unblock {"host": "attacker"}                          ... before its time
    lift {"name": "fence srv1"} it is in force no longer
    overlays {}                 {"overlays": [those in force], "changes": how many so far, "pending": under way}
    samples {}                  how many packets the switches have sent it, and the processor time it has used
    counters {}                 how many packets each rule has met on each switch (policycounters.py)
    reload {}                   the controller's file of flows has been replaced: the switches get what has changed

One JSON object asked, one answered (jsonsocket.py). A change is answered when every switch that it concerns has
confirmed it with a barrier reply: {"switches": ["fw1"], "ms": 1.2, "overlays": ["fence srv1"]}. Any may be asked twice.

A Unix socket is reached by its path from every network namespace: so the network's faults cannot keep the
monitoring host from its controller, and no other host has the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controllers import jsonsocket

#: where the monitoring host sees the socket
SOCKET = Path("/run/controller/northbound.sock")


def ask(request: str, *, socket: Path = SOCKET, seconds: float | None = None, **arguments: Any) -> Any:
    """The controller's answer. Raises RefusedError when it does not answer, FoobarError when it cannot do it."""
    return jsonsocket.exchange(socket, "the controller", request, seconds=seconds, **arguments)
