"""Checks ``files`` and ``logs``: where secrets lie, and who may read them there; and those that stand in a log."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import HIGH, MEDIUM, Finding
from testbed.audit.secretvalue import SecretValue, values
from topo.paths import PRIVATE
from topo.plan import Host

#: of a file, at most so much is searched, in such pieces; logs are emptied before that
MOST_BYTES, PIECE = 256 * 2**20, 2**20
LOGS = ("/var/log", "/var/lib/logs")
FOLDERS = ("/run", "/tmp", "/root", "/var/lib")
OTHERS = 0o077
KEY = b"PRIVATE KEY-----"
#: what a password's hash looks like, wherever it stands
HASH = re.compile(rb"(?:scrypt|pbkdf2):[a-z0-9:]+\$")
REFERENCE = "OWASP ASVS 4.0.3, V7.1.1 and V14.3.2"


@dataclass(frozen=True)
class SecretFile:
    """A file that holds secrets, or may be a log; ``holds``: their names."""

    path: str
    mode: int
    holds: tuple[str, ...]


@dataclass(frozen=True)
class HostFiles:
    """The files of a host that hold secrets."""

    host: str
    files: Sequence[SecretFile]


def file_places(auditor: Auditor) -> Places[HostFiles]:
    """The hosts, each with its folders but for the logs."""
    for host in auditor.plan.hosts:
        yield host.name, partial(_read, auditor, host, FOLDERS, ())


def log_places(auditor: Auditor) -> Places[HostFiles]:
    """The logs, searched after a visit whose password and cookies are known."""
    for host in auditor.plan.hosts:
        yield host.name, partial(_read_logs, auditor, host)


def _read_logs(auditor: Auditor, host: Host) -> HostFiles:
    return _read(auditor, host, LOGS, auditor.visit().secrets)


def _read(auditor: Auditor, host: Host, folders: Sequence[str], more: Sequence[SecretValue]) -> HostFiles:
    secrets = (*values(auditor.secrets), *more)
    inside, found = auditor.testbed.inside(host.name), []
    for folder in folders:
        if not (top := inside.path(folder)).exists():
            continue
        base = next(base for base in PRIVATE if folder.startswith(base))
        own = str(inside.path(base))
        found += [
            SecretFile(base + str(path).removeprefix(own), mode, holds)
            for path, mode in plain_files(top)
            if folder in LOGS or not str(path).startswith(str(inside.path("/var/lib/logs")))
            if (holds := held(path, secrets, logs=folder in LOGS))
        ]
    return HostFiles(host.name, found)


def plain_files(top: Path) -> Iterator[tuple[Path, int]]:
    """The plain files below a folder with what their modes, and those of the folders above them, leave to others."""
    own = top.stat().st_dev
    for folder, names, files in os.walk(top):
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        names[:] = [name for name in names if os.lstat(Path(folder, name)).st_dev == own]
        for name in files:
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                closed = not mode & 0o011 and folder != str(top)
                yield path, stat.S_IMODE(status.st_mode) & ~(OTHERS if closed else 0)


def held(path: Path, secrets: Sequence[SecretValue], *, logs: bool) -> tuple[str, ...]:
    """The names of the secrets that a file holds."""
    patterns = [(secret.what, secret.text.encode()) for secret in secrets]
    patterns.append(("a private key", KEY))
    found: dict[str, None] = {}
    for part in _pieces(path):
        found |= {what: None for what, text in patterns if text in part}
        if logs and HASH.search(part):
            found["the hash of a password"] = None
    return tuple(found)


def _pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces that overlap, so that nothing is cut in two."""
    before, left = b"", MOST_BYTES
    with path.open("rb") as stream:
        while left > 0 and (part := stream.read(PIECE)):
            yield before + part
            before, left = part[-512:], left - len(part)


def judge_files(facts: HostFiles) -> Iterator[Finding]:
    """A file with secrets that other users may read."""
    for file in facts.files:
        if file.mode & OTHERS:
            evidence = f"mode {file.mode:04o}, and it holds {', '.join(file.holds)}"
            where = f"{facts.host}:{file.path}"
            yield Finding("secret-file-mode", HIGH, where, evidence, "mode 0600: services/", REFERENCE)


def judge_logs(facts: HostFiles) -> Iterator[Finding]:
    """A log that holds a secret; the hash of a password is worth guesses."""
    for file in facts.files:
        only_hashes = file.holds == ("the hash of a password",)
        evidence = f"the log holds {', '.join(file.holds)} (mode {file.mode:04o})"
        severity = MEDIUM if only_hashes else HIGH
        yield Finding("secret-in-log", severity, f"{facts.host}:{file.path}", evidence, "do not log it", REFERENCE)
