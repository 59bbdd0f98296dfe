"""The sentinel's process: ``python -m services.detection CONFIG.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from services.detection.watch import AttackWatch

if __name__ == "__main__":
    AttackWatch(json.loads(Path(sys.argv[1]).read_text())).run()
