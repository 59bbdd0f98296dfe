"""``python -m topo.foobar``: the testbed's command. It calls testbed/cli.py."""

from __future__ import annotations

from topo import early

if __name__ == "__main__":
    early.arm()

import sys

from experiments.journey.experiment import once
from testbed.cli import main

if __name__ == "__main__":
    sys.exit(main(once))
