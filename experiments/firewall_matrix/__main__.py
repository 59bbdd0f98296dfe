"""``python -m experiments.firewall_matrix`` is ``python -m experiments run firewall_matrix``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("firewall_matrix"))
