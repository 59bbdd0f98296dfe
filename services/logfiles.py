"""Log files: each is emptied when it is full, and what was in it kept beside it, as ``NAME.1``.

Daemons keep their logs open and append, so the file itself must stay: its content is copied and cut off.
"""

from __future__ import annotations

import os
import stat

from topo.folders import MIB, Folder

#: two of it for each log find room in a host's /var/log
MOST_BYTES = 32 * MIB


def before(log: str) -> str:
    """The path of what was in a log before it was emptied."""
    return f"{log}.1"


def rotate(folder: Folder, name: str, most: int = MOST_BYTES) -> None:
    """Empty a log that has ``most`` bytes. Raises OSError or UsageError for what cannot be, with the log as it was."""
    status = folder.status(name)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size < most:
        return
    with os.fdopen(folder.open(name, os.O_RDWR | os.O_APPEND), "r+b", buffering=0) as log:
        folder.remove(before(name))  # first, so that there is room
        folder.write(before(name), log.read(), like=os.fstat(log.fileno()))
        since = log.read()  # lines of the milliseconds in which that was written
        log.truncate(0)
        log.write(since)
