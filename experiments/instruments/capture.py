"""Capturing packets on links without loss.

dumpcap writes: Scapy's sniffing drops packets at a few thousand a second. tcpdump would do as well,
but insists on setgroups(), which an ordinary user's namespace does not permit.
"""

from __future__ import annotations

import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from testbed.namespaces import Inside, put_ahead
from topo import wait
from topo.errors import DeadlineError, FoobarError
from topo.folders import Folder

BUFFER_MIB = 32
COUNTS = re.compile(r"Packets received/dropped on interface .*: \d+/(\d+) ")
CANARY_TYPE = 0x88B5  # an EtherType for local experiments: no host takes it, every switch drops it
OVERLAP = 128  # bytes: more than a canary has
SECONDS = 5.0


@dataclass
class Capture:
    """Packets of one interface of one host.

    ``dropped`` is how many the kernel could not hand over; None when that is not known, or when the canary sent at the
    end was not seen: then the capture is inconclusive: a packet that is missing from it proves nothing.
    """

    inside: Inside
    interface: str
    file: Path
    dropped: int | None = None

    @property
    def link(self) -> str:
        return self.inside.name if self.interface != "lo" else f"{self.inside.name}-lo"


@contextmanager
def capturing(
    wanted: Sequence[tuple[Inside, str]], folder: Folder, only: Mapping[str, str] | None = None
) -> Iterator[list[Capture]]:
    """Capture on (host, interface) pairs while the block runs. Every capture has begun before the block does.

    ``only``: a capture filter in libpcap's words for each host; the canary passes it. (``inbound`` has no place in one:
    with it the first packet after a pause gets lost.)

    Files are named after the host, and after the interface too when it is not the host's link.
    """
    with ExitStack() as stack:
        running = [
            _start(stack, inside, interface, folder, (only or {}).get(inside.name)) for inside, interface in wanted
        ]
        for capture, process in running:
            _wait_begun(capture, process)
        try:
            yield [capture for capture, _ in running]
        finally:
            for capture, process in running:
                _end(capture, process)


def _start(
    stack: ExitStack, inside: Inside, interface: str, folder: Folder, only: str | None
) -> tuple[Capture, subprocess.Popen[Any]]:
    capture = Capture(inside, interface, folder.path)
    capture.file = folder.path / f"{capture.link}.pcap"
    stream = stack.enter_context(folder.create(capture.file.name))
    command = ["dumpcap", "-i", interface, "-P", "-q", "-B", str(BUFFER_MIB), "-w", "-"]
    if only:
        command += ["-f", f"({only}) or ether proto {CANARY_TYPE}"]
    process = inside.popen(command, stdout=stream, stderr=subprocess.PIPE, text=True)
    put_ahead(process)
    stack.callback(process.kill)
    return capture, process


def _wait_begun(capture: Capture, process: subprocess.Popen[Any]) -> None:
    said: list[str] = []
    for line in _words(process):
        if line.startswith("File:"):
            return
        said.append(line)
    raise FoobarError(f"the capture on {capture.interface} did not begin", detail="".join(said))


def _end(capture: Capture, process: subprocess.Popen[Any]) -> None:
    """Stop once the canary, the last packet, has been written: dumpcap forgets what it has not read yet."""
    seen = _plant_canary(capture)
    process.send_signal(signal.SIGINT)
    match = COUNTS.search("".join(_words(process)))
    ended = f"the capture on {capture.interface} ended"
    wait.until(lambda: None if process.poll() is not None else "it runs", what=ended, seconds=SECONDS)
    capture.dropped = int(match[1]) if match and seen else None


def _plant_canary(capture: Capture) -> bool:
    token = secrets.token_bytes(46)
    since = _Tail(capture.file)
    try:
        with planting(capture.inside, capture.interface) as plant:
            plant(token)
        wait.until(lambda: None if token in since.more() else "no canary", what="capture", seconds=SECONDS)
    except (OSError, DeadlineError):
        return False
    return True


@contextmanager
def planting(inside: Inside, interface: str) -> Iterator[Callable[[bytes], object]]:
    """Gives what sends a canary, a frame of this content, out of a host's interface. Raises OSError."""
    with inside.open_socket(socket.SOCK_RAW, socket.AF_PACKET) as link:
        link.bind((interface, 0))
        head = b"\xff" * 6 + link.getsockname()[4] + CANARY_TYPE.to_bytes(2, "big")
        yield lambda content: link.send(head + content)


class _Tail:
    """The bytes written to a file from now on: on a busy link a lot comes after the canary."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._place = max(0, file.stat().st_size - OVERLAP)

    def more(self) -> bytes:
        """The new bytes, and the end of the known ones: something may have been half there."""
        with self._file.open("rb") as stream:
            stream.seek(self._place)
            chunk = stream.read()
        self._place += max(0, len(chunk) - OVERLAP)
        return chunk


def _words(process: subprocess.Popen[Any]) -> IO[str]:
    assert process.stderr is not None
    return process.stderr
