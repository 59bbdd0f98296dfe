"""``python -m experiments.db_failover`` is ``python -m experiments run db_failover``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("db_failover"))
