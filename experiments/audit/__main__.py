"""``python -m experiments.audit`` is ``python -m experiments run audit``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("audit"))
