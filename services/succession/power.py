"""The database servers' power switch: a socket on the monitoring host, as a management board's port would be."""

from __future__ import annotations

from pathlib import Path

from topo import control

#: where the monitoring host sees the socket; the testbed answers there (topo/testbed.py)
SOCKET = Path("/run/power/power.sock")


def cycle(host: str, *, socket: Path = SOCKET) -> None:
    """Switch a host's database off and on again, without a good-bye; returns when it is off. Raises FoobarError."""
    control.exchange(socket, "the power switch", "cycle", host=host)
