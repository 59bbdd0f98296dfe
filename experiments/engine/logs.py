"""The daemons' own logs, kept with every run, however it ended: what explains a surprise is in there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.testbed import Testbed

FOLDER = "logs"
MOST_BYTES = 2**20


def collect(testbed: Testbed, folder: Path) -> None:
    """Copy the end of every service's logs into ``folder/logs``, as HOST-ROLE-NAME; 1 MiB of each at most."""
    target = folder / FOLDER
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
