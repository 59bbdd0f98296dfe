"""``python -m experiments.journey`` is ``python -m experiments run journey``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("journey"))
