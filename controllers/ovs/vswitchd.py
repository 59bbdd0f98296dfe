"""Telling ovs-vswitchd what OpenFlow cannot: one JSON object over its control socket, as ovs-appctl does it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from topo import wait
from topo.errors import FoobarError, RefusedError

DIRECTORY = Path("/run/openvswitch")
SECONDS = 5.0


def tell(command: str, *words: str, directory: Path = DIRECTORY) -> str:
    """Its answer to a command, within 1 ms. Raises RefusedError when none comes, FoobarError when it refuses."""
    try:
        pid = (directory / "ovs-vswitchd.pid").read_text().strip()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS * wait.patience())
            connection.connect(str(directory / f"ovs-vswitchd.{pid}.ctl"))
            connection.sendall(json.dumps({"id": 0, "method": command, "params": words}).encode())
            answer = _object(connection)
    except OSError as error:
        raise RefusedError(f"ovs-vswitchd does not answer: {error}") from None
    if answer["error"] is not None:
        raise FoobarError(f"ovs-vswitchd refuses {command}: {answer['error']}")
    return str(answer["result"])


def forget_decisions() -> None:
    """Make the datapath ask the flow tables again about every packet.

    It remembers what the tables said about each kind of packet, and a barrier reply does not wait for that memory to
    be corrected: packets were seen to pass for 5 ms after one. Once this returns, none does. Twice, because a port's
    configuration is taken over only at the beginning of the main loop's next round, which the second request is of.
    """
    for _ in range(2):
        tell("revalidator/purge")


def settle_counters() -> None:
    """Make the flows' counters exact: they lag behind the datapath's by up to half a second."""
    tell("revalidator/wait")


def forget_connections(zone: int) -> None:
    """Empty one zone of the connection tracker."""
    tell("dpctl/flush-conntrack", f"zone={zone}")


def _object(connection: socket.socket) -> dict[str, object]:
    """One JSON object, which nothing but its own end delimits."""
    received = b""
    while True:
        received += (more := connection.recv(65536))
        try:
            answer: dict[str, object] = json.loads(received)
        except ValueError:
            if not more:
                raise ConnectionError("it hung up") from None
        else:
            return answer
