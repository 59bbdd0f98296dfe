"""``python -m experiments.tls_tampering`` is ``python -m experiments run tls_tampering``."""

import sys

from experiments.__main__ import alone

if __name__ == "__main__":
    sys.exit(alone("tls_tampering"))
