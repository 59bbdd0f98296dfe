"""64-byte round trips over one TCP connection, both ends of it: a file that runs alone, so that it starts quickly.

``python pingpong.py answer ADDRESS PORT`` answers one connection, then ends; ``python pingpong.py ask ADDRESS PORT
SECONDS`` prints round trips per second.
"""

from __future__ import annotations

import socket
import sys
import time

SIZE = 64
BATCH = 50


def answer(address: str, port: int) -> None:
    """Send back what comes until the other end closes."""
    with socket.create_server((address, port)) as server:
        connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while block := connection.recv(SIZE, socket.MSG_WAITALL):
        connection.sendall(block)


def ask(address: str, port: int, seconds: float) -> float:
    """Round trips per second, one at a time."""
    block, trips = bytes(SIZE), 0
    with socket.create_connection((address, port), timeout=5) as connection:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            for _ in range(BATCH):
                connection.sendall(block)
                if len(connection.recv(SIZE, socket.MSG_WAITALL)) != SIZE:
                    raise ConnectionError(f"the other end closed after {trips} round trips")
            trips += BATCH
    return trips / elapsed


if __name__ == "__main__":
    role, address, port, *rest = sys.argv[1:]
    if role == "answer":
        answer(address, int(port))
    else:
        print(ask(address, int(port), float(rest[0])))
