"""The database servers' power switch: a socket on the monitoring host, in place of a management board's port."""

from __future__ import annotations

from pathlib import Path

from controllers import jsonsocket

#: where the monitoring host sees the socket; the testbed answers there (testbed/testbed.py)
SOCKET = Path("/run/power/power.sock")


def cycle(host: str, *, socket: Path = SOCKET) -> None:
    """Switch a host's database off and on again, without a shutdown; returns when it is off. Raises FoobarError."""
    jsonsocket.exchange(socket, "the power switch", "cycle", host=host)
