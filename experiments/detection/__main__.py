"""``python -m experiments.detection`` is ``python -m experiments run detection``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("detection"))
