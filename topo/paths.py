"""Places: the project, the box, a host's private directories."""

from __future__ import annotations

from pathlib import Path

#: the folder that holds topo/, controllers/, services/, testbed/ and experiments/
PROJECT = Path(__file__).resolve().parent.parent

#: the name of the place where no host is: the box around them all
BOX = "box"

#: a host's own directories, and where each lies below the host's home
PRIVATE = {"/run": "run", "/var/run": "run", "/tmp": "tmp", "/var/log": "log", "/var/lib": "lib", "/root": "root"}


def private(home: Path, path: str) -> Path:
    """The place, below a host's home, of a file in one of its own directories. Raises ValueError for any other."""
    for inside, outside in PRIVATE.items():
        if path == inside or path.startswith(inside + "/"):
            return home / outside / path[len(inside) + 1 :]
    raise ValueError(f"{path}: not a private path of a host; those are below {', '.join(PRIVATE)}")
