"""``python -m experiments.monitoring`` is ``python -m experiments run monitoring``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("monitoring"))
