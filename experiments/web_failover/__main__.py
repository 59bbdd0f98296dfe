"""``python -m experiments.web_failover`` is ``python -m experiments run web_failover``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("web_failover"))
