"""``python -m experiments.firewall_mutants`` is ``python -m experiments run firewall_mutants``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("firewall_mutants"))
