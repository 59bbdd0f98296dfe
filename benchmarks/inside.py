"""A benchmark's part in a box, run by child.py, with a profile's flags if it is not ``seed``:

    python -m benchmarks.inside NAME --name N --pairs P --seconds S [--db semisync ...]

What it has to say it prints, each as one JSON object on a line of its own.
"""

from __future__ import annotations

from topo import early

if __name__ == "__main__":
    early.arm()

import sys
from collections.abc import Sequence

from benchmarks.comparison import Size
from testbed import session
from testbed.commandline import Parser, guarded
from topo import profile


def main(words: Sequence[str]) -> int:
    """Boot a testbed and do the benchmark's body with it; the exit code."""
    from benchmarks.suite import benchmark

    parser = Parser(prog="python -m benchmarks.inside", allow_abbrev=False)
    parser.add_argument("benchmark")
    parser.add_argument("--name", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    profile.add_flags(parser)
    options = parser.parse_args(words)
    body = benchmark(options.benchmark).body(Size(options.pairs, options.seconds))
    return session.in_box(
        options.name, profile.from_flags(options), ["-m", "benchmarks.inside", *words], body, quiet=True
    )


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
