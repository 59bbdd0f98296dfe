"""The content of TLS connections, with the help of a key log: tshark decrypts, frame by frame.

This is the search's positive control: on a link where nothing is readable, the same search over the same frames,
decrypted, must find what was sent.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from experiments.wire import starttls
from experiments.wire.streams import StreamRun, Text
from topo import wait
from topo.environment import ENVIRONMENT, SYSTEM_PATH
from topo.errors import FoobarError, MissingError
from topo.plan import DATABASE, PORTS

SECONDS = 120.0
# one line per frame that is its number, then the dump of each of its data sources
NUMBERS = ("-o", 'gui.column.format:"No.","%m"')
SOURCE = re.compile(r"^(.+) \((\d+) bytes?\):$")
DUMP = re.compile(r"^[0-9a-f]{4,}  ((?:[0-9a-f]{2} ){1,16})")
# handshake messages inside TLS 1.3: new session ticket, extensions, certificate, request, verify, finished, key update
HANDSHAKE = {4, 8, 11, 13, 15, 20, 24}
# frame, version, and the version in an extension, if there is one; of several ServerHellos in a frame the first
HELLO = re.compile(r"^(\d+)\t(0x[0-9a-f]{1,4})[^\t\n]*(?:\t(0x[0-9a-f]{1,4})?.*)?$", re.MULTILINE)
VERSIONS = {0x0303: "TLS 1.2", 0x0304: "TLS 1.3", 0x0302: "TLS 1.1", 0x0301: "TLS 1.0"}


def decrypted(file: Path, keys: Path, said: Text) -> Text:
    """The data of each side inside TLS, wherever the key log opens it; ``said``: the capture's own text.

    A side that was opened and said nothing but the handshake has a run of no bytes.
    """
    senders = {frame: (run.src, run.dst) for run in said.runs for _, _, frame in run.parts}
    chunks: dict[tuple[str, str], list[tuple[bytes, int]]] = {}
    with _separated(file) as (copy, own):
        dumped = tshark(copy, "-o", f"tls.keylog_file:{keys}", "-Y", "tls", *NUMBERS, "-P", "-x")
    for number, plain in _plain(dumped):
        if (frame := own(number)) in senders:
            said_inside = chunks.setdefault(senders[frame], [])
            said_inside += [] if is_handshake(plain) else [(plain, frame)]
    return _text(chunks)


def versions(file: Path) -> dict[int, str]:
    """The TLS version of each ServerHello, by its frame."""
    wanted = ("frame.number", "tls.handshake.version", "tls.handshake.extensions.supported_version")
    fields = [word for field in wanted for word in ("-e", field)]
    with _separated(file) as (copy, own):
        rows = tshark(copy, "-Y", "tls.handshake.type == 2", "-T", "fields", *fields)
    return {own(number): version for number, version in versions_in(rows).items()}


@contextmanager
def _separated(file: Path) -> Iterator[tuple[Path, Callable[[int], int]]]:
    """A capture in which tshark finds each ClientHello, and from its frames' numbers to those in ``file``."""
    content, numbers = starttls.separated(file.read_bytes())
    if not numbers:
        yield file, int
        return
    with tempfile.NamedTemporaryFile(suffix=".pcap") as copy:
        copy.write(content)
        copy.flush()
        yield Path(copy.name), lambda number: numbers[number - 1]


def versions_in(rows: str) -> dict[int, str]:
    """The same of tshark's words; a ServerHello without a version that can be read is left out."""
    values = {}
    for match in HELLO.finditer(rows):
        number, legacy, supported = match.groups()
        code = int(supported or legacy, 16)
        values[int(number)] = VERSIONS.get(code, f"TLS {code:#06x}")
    return values


def check() -> None:
    """Raise MissingError when tshark is not there, before anything is measured that it must read."""
    if shutil.which("tshark", path=SYSTEM_PATH) is None:
        raise MissingError("missing: tshark (package: tshark); run: sudo ./foobar, which installs it")


def tshark(file: Path, *words: str) -> str:
    """Its output. Raises FoobarError with its own words when it fails."""
    command = ("tshark", "-n", "-r", str(file), "-d", f"tcp.port=={PORTS[DATABASE]},mysql", *words)
    environment = {**ENVIRONMENT, "HOME": "/nonexistent"}
    done = wait.for_command(command, seconds=SECONDS, env=environment)
    if done.returncode:
        raise FoobarError(f"tshark could not read {file.name}", detail=done.stderr.strip())
    return done.stdout


def _plain(dumped: str) -> Iterator[tuple[int, bytes]]:
    """(frame, bytes) of each decrypted record in tshark's dump."""
    frame, source, plain = 0, "", b""
    for line in [*dumped.splitlines(), "end"]:
        if match := DUMP.match(line):
            plain += bytes.fromhex(match[1]) if source == "Decrypted TLS" else b""
            continue
        if plain:
            yield frame, plain
            source, plain = "", b""
        if match := SOURCE.match(line):
            source = match[1]
        elif line.strip().isdigit():
            frame = int(line)


def is_handshake(plain: bytes) -> bool:
    """Is a decrypted record made of TLS handshake messages from its first byte to its last?"""
    place = 0
    while place + 4 <= len(plain) and plain[place] in HANDSHAKE:
        place += 4 + int.from_bytes(plain[place + 1 : place + 4], "big")
    return place == len(plain) > 0


def _text(chunks: Mapping[tuple[str, str], Iterable[tuple[bytes, int]]]) -> Text:
    runs, data, start = [], [], 0
    for (src, dst), pieces in chunks.items():
        parts, place = [], start
        for plain, frame in pieces:
            parts.append((place, len(plain), frame))
            data.append(plain)
            place += len(plain)
        runs.append(StreamRun(src, dst, start, place, parts))
        start = place
    return Text(b"".join(data), runs)
