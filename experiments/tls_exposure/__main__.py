"""``python -m experiments.tls_exposure`` is ``python -m experiments run tls_exposure``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("tls_exposure"))
