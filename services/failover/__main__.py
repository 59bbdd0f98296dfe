"""The failover manager's process: looks, decides, acts, fifty times a second or as soon as there is news.

python -m services.failover CONFIG.json
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from services.failover.controlloop import ControlLoop


def end_process(args: threading.ExceptHookArgs) -> None:
    """A thread that fails ends the whole process, which is started again: half a manager would decide wrongly."""
    threading.__excepthook__(args)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    threading.excepthook = end_process
    ControlLoop(json.loads(Path(sys.argv[1]).read_text())).run()
