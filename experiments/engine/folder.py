"""A run's folder: runs/<experiment>/<UTC time>-<short id>/, with the result, the evidence and what else was made."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topo import folders
from topo.errors import UsageError
from topo.folders import Folder

if TYPE_CHECKING:
    from testbed.testbed import Testbed

RESULT, EVIDENCE, REPORT = "result.json", "evidence.json", "report.html"
LOGS = "logs"
MOST_BYTES = 2**20
MOST_READ = 256 * folders.MIB


def make(runs: Path, experiment: str) -> Folder:
    """A new folder. Raises UsageError when it cannot be made there."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    with _hinting(), folders.opened(runs, make=True) as parent, parent.below(experiment, make=True) as place:
        return place.new(f"{moment}-{secrets.token_hex(3)}")


def refuse(runs: Path, experiments: Iterable[str]) -> None:
    """Raises UsageError, before anything is booted, when results could not go there; makes nothing."""
    if os.path.lexists(runs):
        with _hinting(), folders.opened(runs) as parent:
            for experiment in experiments:
                if parent.status(experiment):
                    parent.below(experiment).close()


@contextmanager
def _hinting() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{error}; say where results may go with --runs DIR") from None


def write(folder: Folder, name: str, content: Any) -> None:
    """Write JSON so that a reader finds all of it or nothing."""
    folder.write(name, json.dumps(content, indent=1) + "\n")


def write_rows(folder: Folder, name: str, content: Mapping[str, Any]) -> None:
    """The same for much data: each item of a list on a line of its own, which is quick to write and can be read."""
    parts = ",\n".join(f"{json.dumps(key)}: {_rows(value)}" for key, value in content.items())
    folder.write(name, f"{{\n{parts}\n}}\n")


def _rows(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n " + ",\n ".join(json.dumps(row) for row in value) + "\n]"


def read(folder: Path, name: str) -> Any:
    """Read JSON back. Raises UsageError, naming the file, when it is not there, not whole, or no JSON."""
    with folders.opened(folder) as place:
        return content(place, name)


def content(folder: Folder, name: str) -> Any:
    """The same, of a folder that is open already."""
    try:
        return json.loads(folder.read(name, MOST_READ), **NUMBERS)
    except RecursionError:
        raise UsageError(f"{folder.path / name}: not JSON (nested too deeply)") from None
    except ValueError as error:
        raise UsageError(f"{folder.path / name}: not JSON ({error})") from None


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if abs(number) < float("inf") else _no_number(digits[:LONGEST])


def _whole(digits: str) -> int:
    """No time, count or size has more digits; what has could not even be divided."""
    return int(digits) if len(digits) <= LONGEST else int(_no_number(f"{digits[:LONGEST]}..."))


LONGEST = 20
NUMBERS: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite, "parse_int": _whole}


def collect_logs(testbed: Testbed, folder: Folder) -> None:
    """Copy the end of every service's logs into ``folder/logs``, as HOST-ROLE-NAME; 1 MiB of each at most."""
    with folder.below(LOGS, make=True) as target:
        for unit in testbed.supervisor.units:
            for log in unit.service.logs:
                if content := unit.written(log, MOST_BYTES):
                    target.write(f"{unit.service.host}-{unit.service.role}-{log.rpartition('/')[2]}", content)
