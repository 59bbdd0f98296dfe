"""``python -m experiments.waf`` is ``python -m experiments run waf``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("waf"))
