"""The processes of a host and the sockets on which they listen, read from the box: the host itself could lie."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.service import Service

#: the kernel's tables of sockets, and the state of one that waits for others (net/tcp_states.h)
TABLES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
_STATUS = re.compile(r"^(Uid|CapEff|NoNewPrivs|Name):\s*(.+)", re.MULTILINE)


@dataclass(frozen=True)
class ListeningSocket:
    """A socket that takes packets from whoever sends some; ``service``: of which of the host's services, "" of none."""

    proto: str
    address: str
    port: int
    program: str
    service: str = ""

    @property
    def local(self) -> bool:
        """True if nobody reaches it from another host."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        return f"{self.proto}/{self.port}"


@dataclass(frozen=True)
class AuditedProcess:
    """One process. ``capabilities``: a bit for each that it has; ``sockets``: inodes; ``service``: None of none."""

    pid: int
    name: str
    uid: int
    capabilities: int
    no_new_privileges: bool
    command: str
    program: str
    libraries: frozenset[str] = frozenset()
    sockets: frozenset[str] = frozenset()
    service: Service | None = None


def processes(pid: str, services: Mapping[int, Service], proc: Path = Path("/proc")) -> Iterator[AuditedProcess]:
    """Every process in the network of a host, given the host's first process. Raises OSError."""
    network = os.readlink(proc / pid / "ns/net")
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                if os.readlink(folder / "ns/net") == network:
                    yield process(folder, services.get(int(folder.name)))


def process(folder: Path, service: Service | None) -> AuditedProcess:
    """A process by its folder in /proc."""
    status = dict(_STATUS.findall((folder / "status").read_text()))
    maps = (folder / "maps").read_text().splitlines()
    return AuditedProcess(
        pid=int(folder.name),
        name=status["Name"],
        uid=int(status["Uid"].split()[0]),
        capabilities=int(status["CapEff"], 16),
        no_new_privileges=status["NoNewPrivs"] == "1",
        command=(folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip(),
        program=os.readlink(folder / "exe"),
        libraries=frozenset(line.split(None, 5)[5] for line in maps if ".so" in line),
        sockets=frozenset(link[8:-1] for link in _links(folder / "fd") if link.startswith("socket:[")),
        service=service,
    )


def _links(folder: Path) -> Iterator[str]:
    for link in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(link)


def listening(pid: str, among: Sequence[AuditedProcess], proc: Path = Path("/proc")) -> tuple[ListeningSocket, ...]:
    """The sockets of a host that wait for others, with the programs that hold them. Raises OSError."""
    holders = {inode: holder for holder in among for inode in holder.sockets}
    found = []
    for table, state in TABLES.items():
        for line in (proc / pid / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[2].endswith(":0000"):
                holder = holders.get(fields[9])
                name, service = (holder.name, holder.service) if holder else ("an unknown program", None)
                found.append(ListeningSocket(table[:3], *_end(fields[1]), name, service.role if service else ""))
    return tuple(dict.fromkeys(found))


def _end(text: str) -> tuple[str, int]:
    """Address and port as the kernel prints them: words of four bytes, each the other way round."""
    digits, _, port = text.partition(":")
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)
