"""The standing of a process beside the others, where processors are scarce."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def give_niceness(pid: int, niceness: int) -> None:
    """To a process, and its session: by that the kernel shares processors out where it groups them (autogroup).

    Where that is not allowed it stays as it is.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
