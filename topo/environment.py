"""The environment of processes: what the person's own may add to it is a list, so that nothing else leaks in.

A proxy, a search path, a library to preload, a Python path, Open vSwitch's folders or a locale, set for another
purpose, would reach daemons and hosts, and change what is measured. Imported first, so it imports next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: a fixed environment: that of every process on an emulated host
ENVIRONMENT = {"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"}

#: variables of the person's that our own processes keep: the terminal, the home, who typed sudo, where things are kept
LET_IN = frozenset(
    ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TZ", "DISPLAY", "XAUTHORITY")
    + ("HOME", "USER", "LOGNAME", "SUDO_UID", "SUDO_GID", "SUDO_USER", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
    + ("PYTHONDONTWRITEBYTECODE",)
)
#: the testbed's own settings, which the documents name
OWN = "FOOBAR_"


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for our own processes, of what is let in of the person's."""
    kept = {name: value for name, value in environment.items() if name in LET_IN or name.startswith(OWN)}
    return {**ENVIRONMENT, **kept}


def keep_clean() -> None:
    """From now on this process, and all that it starts, has a clean environment."""
    kept = clean(os.environ)
    os.environ.clear()
    os.environ.update(kept)
