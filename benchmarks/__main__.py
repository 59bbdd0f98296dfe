"""``python -m benchmarks [NAME...] [--json] [--pairs N]``: ours and references in turns, as a table or as JSON."""

from __future__ import annotations

from topo import early

if __name__ == "__main__":
    early.arm()

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import suite, table
from benchmarks.comparison import Benchmark, Report, Size
from testbed import preflight
from testbed.commandline import Parser, guarded
from topo.errors import EXIT_HOLDS, UsageError

FEWEST_PAIRS, MOST_PAIRS = 5, 100


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a command line: 0 when every measure was taken, whether its target is met or not."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(words))


def _run(words: list[str]) -> int:
    options = _parser().parse_args(words)
    benchmarks, size = suite.wanted(options.names), _size(options)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    preflight.check()
    suite.check_programs(benchmarks)
    reports = {benchmark.name: _measure(benchmark, size) for benchmark in benchmarks}
    rows = [series.judged(name) for name, report in reports.items() for series in report.series]
    _show(reports, rows, as_json=options.json)
    return EXIT_HOLDS


def _parser() -> Parser:
    names = ", ".join(benchmark.name for benchmark in suite.BENCHMARKS)
    about = "Measure the testbed and a reference in turns."
    parser = Parser(prog="python -m benchmarks", description=about, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (all): {names}")
    parser.add_argument("--json", action="store_true", help="a list with one object for each measure")
    fewest = f"how often to measure both, {FEWEST_PAIRS} or more ({Size.pairs})"
    parser.add_argument("--pairs", default=str(Size.pairs), metavar="N", help=fewest)
    # fewer and shorter than means anything: for the test that a run works at all
    parser.add_argument("--rehearse", action="store_true", help=argparse.SUPPRESS)
    return parser


def _size(options: argparse.Namespace) -> Size:
    if options.rehearse:
        return Size(pairs=1, seconds=0.5)
    if not options.pairs.isdecimal() or not FEWEST_PAIRS <= int(options.pairs) <= MOST_PAIRS:
        raise UsageError(f"--pairs {options.pairs}: must be a whole number from {FEWEST_PAIRS} to {MOST_PAIRS}")
    return Size(pairs=int(options.pairs))


def _measure(benchmark: Benchmark, size: Size) -> Report:
    with table.progress(benchmark.name) as tell:
        return benchmark.measure(size, tell)


def _show(reports: dict[str, Report], rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """With ``--json`` standard output is the list alone; what else there is to say goes to standard error."""
    if as_json:
        print(json.dumps(rows, indent=1))
    table.show(reports, rows, aside=as_json)


if __name__ == "__main__":
    sys.exit(main())
