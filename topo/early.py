"""A command begins: with a clean environment, and with a line, not a traceback, for Ctrl-C while modules are loaded.

Imported first, so it imports next to nothing.
"""

from __future__ import annotations

import os

from topo import environment

# what the module signal is made of: that one loads enum first, and Ctrl-C does not wait for it
import _signal  # type: ignore[import-not-found]  # isort: skip

# set for a command that runs again inside a box (box.py)
BOX_VARIABLE = "FOOBAR_BOX"
INTERRUPTED = "foobar: interrupted; nothing is left behind"


def arm() -> None:
    """Leave with 130 on Ctrl-C until a better handler is set. Inside a box the launcher prints the line."""
    environment.keep_clean()
    _signal.signal(_signal.SIGINT, _leave)
    if BOX_VARIABLE in os.environ:  # until now the launcher has kept Ctrl-C from it (launcher.py)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGINT})


def _leave(*_: object) -> None:
    if BOX_VARIABLE not in os.environ:
        try:
            os.write(2, f"{INTERRUPTED}\n".encode())
        finally:  # also when nothing can be said there
            os._exit(130)
    os._exit(130)
