"""A run's folder: runs/<experiment>/<UTC time>-<short id>/, with the result, the evidence and what else was made."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topo import folders
from topo.errors import UsageError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

RESULT, EVIDENCE, REPORT = "result.json", "evidence.json", "report.html"
LOGS = "logs"
MOST_BYTES = 2**20
MOST_READ = 256 * folders.MIB


def make(runs: Path, experiment: str) -> Path:
    """A new folder. Raises UsageError when it cannot be made there."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    path = runs / experiment / f"{moment}-{secrets.token_hex(3)}"
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; say where results may go with --runs DIR") from None
    return path


def write(folder: Path, name: str, content: Any) -> None:
    """Write JSON so that a reader finds all of it or nothing."""
    _whole(folder / name, json.dumps(content, indent=1) + "\n")


def _whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text)
    partial.replace(path)


def write_rows(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """The same for much data: each item of a list on a line of its own, which is quick to write and can be read."""
    parts = ",\n".join(f"{json.dumps(key)}: {_rows(value)}" for key, value in content.items())
    _whole(folder / name, f"{{\n{parts}\n}}\n")


def _rows(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n " + ",\n ".join(json.dumps(row) for row in value) + "\n]"


def read(folder: Path, name: str) -> Any:
    """Read JSON back. Raises UsageError, naming the file, when it is not there, not whole, or no JSON."""
    path = folder / name
    content = folders.read(path, MOST_READ)
    try:
        return json.loads(content, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise UsageError(f"{path}: not JSON (nested too deeply)") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from None


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if abs(number) < float("inf") else _no_number(digits[:20])


def hand_over(folder: Path) -> None:
    """Make a result readable for all; with sudo it belongs to the person who typed it."""
    for path in (folder.parent.parent, folder.parent, folder, *folder.rglob("*")):
        give(path)


def give(path: Path) -> None:
    """The same for a single file."""
    uid, gid = (int(os.environ.get(name, -1)) for name in ("SUDO_UID", "SUDO_GID"))
    with suppress(OSError):
        if uid >= 0:
            os.chown(path, uid, gid)
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))


def collect_logs(testbed: Testbed, folder: Path) -> None:
    """Copy the end of every service's logs into ``folder/logs``, as HOST-ROLE-NAME; 1 MiB of each at most."""
    target = folder / LOGS
    target.mkdir(exist_ok=True)
    for unit in testbed.supervisor.units:
        for log in unit.service.logs:
            source = unit.place.path(log)
            if source.is_file() and source.stat().st_size:
                _copy_end(source, target / f"{unit.service.host}-{unit.service.role}-{source.name}")


def _copy_end(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        reading.seek(max(0, os.fstat(reading.fileno()).st_size - MOST_BYTES))
        shutil.copyfileobj(reading, writing)
