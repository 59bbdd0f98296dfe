"""Fakes for the rootless tests: a host that is a folder, services that do as told, a testbed that is steady as told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from services.service import Command, File, Look, Service
from testbed.disturbances import Disturbances
from topo import wait
from topo.profile import SEED
from topo.users import DaemonUser, Rights


def open_to_all(folder: Path) -> None:
    """Let every user of the machine into a folder of pytest's: those above it are for their owner alone."""
    for path in (folder, *folder.parents):
        path.chmod(path.stat().st_mode | 0o055)  # a folder that is open already, as /tmp, keeps what it has
        if path.name.startswith("pytest-of-"):
            break


class FakePlace:
    """A host that is a folder: its private paths lie below ``root``, its processes are ordinary local ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[tuple[str, ...]] = []
        self.checked: list[tuple[str, ...]] = []

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def connect(self, port: int, address: str = "127.0.0.1", seconds: float = 1) -> socket.socket:
        raise ConnectionRefusedError

    def popen(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        rights: Rights | None = None,
        **options: Any,
    ) -> Any:
        self.started.append(tuple(argv))
        return subprocess.Popen(
            list(argv), env={**os.environ, **(environment or {})}, cwd=self.root, start_new_session=True, **options
        )

    def user(self, service: Service) -> DaemonUser | None:
        return None

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float = 30,
        environment: Mapping[str, str] | None = None,
        rights: Rights | None = None,
    ) -> subprocess.CompletedProcess[str]:
        self.checked.append(tuple(argv))
        return wait.for_command(argv, seconds=seconds)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def python(code: str) -> Command:
    return (sys.executable, "-S", "-c", code)


class FakeService(Service):
    """A daemon made of a command; ready once the file ``/run/NAME.ready`` is there, or at once."""

    patience = 5.0

    def __init__(
        self,
        name: str,
        command: Command = ("sleep", "60"),
        *,
        check: Command | None = None,
        files: tuple[File, ...] = (),
        waits: bool = False,
        host: str = "srv1",
    ) -> None:
        super().__init__(host)
        self.role = name
        self._command, self._check, self._files, self.waits = command, check, files, waits

    def files(self) -> tuple[File, ...]:
        return self._files

    def checks(self) -> tuple[Command, ...]:
        return (self._check,) if self._check else ()

    def command(self) -> Command:
        return self._command

    def ready(self, look: Look) -> str | None:
        if self.waits and not look.path(f"/run/{self.role}.ready").exists():
            return "no sign of it"
        return None


class SteadyTestbed:
    """As much of a testbed as the engine asks: steady as it is told, look by look, the last one for ever.

    With a ``log``, one service that has written it.
    """

    profile = SEED
    datapath = "user"

    def __init__(self, *looks: bool, log: Path | None = None) -> None:
        self.looks = list(looks or (True,))
        service = SimpleNamespace(host="srv1", role="web", logs=["/var/log/error.log"])
        unit = SimpleNamespace(service=service, written=lambda _, most: log.read_bytes()[-most:] if log else b"")
        self.supervisor = SimpleNamespace(units=[unit] if log else [])
        self.disturbances = Disturbances()
        self.overlays = SimpleNamespace(without_blocks=nullcontext)

    def measuring(self, experiment: str, *, blocks: bool = False) -> Any:
        return nullcontext(lambda _: None)

    def look(self) -> Any:
        holds = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return SimpleNamespace(holds=holds, problems=None if holds else "srv1/web: died")
