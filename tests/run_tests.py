"""``./foobar test``: all tests, side by side as far as they can be; those that measure times come alone, at the end.

    python tests/run_tests.py [--quick] [ARGS]     ARGS go to pytest

Boxes never meet, so testbeds of several workers run beside each other. Tests of one file stay with one worker, which
boots once what they share. ``--quick``: the rootless tier, then one boot and its journey.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

EXIT_USAGE = 64  # as topo/errors.py has it: tests are run from any folder
OK, FAILED, NONE_SELECTED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
BESIDE = ("--beside", "--dist=loadfile", "--no-loadscope-reorder")
ONE_JOURNEY = "tests/root/test_main_job.py::test_all_13_steps_are_seen"


def parts(words: Sequence[str], workers: int) -> list[list[str]]:
    """The arguments of each run of pytest, in order."""
    beside = [f"--numprocesses={workers}", *BESIDE]
    rest = [word for word in words if word != "--quick"]
    if "--quick" in words:
        return [[*beside, "-m", "not root", *rest], [*rest, ONE_JOURNEY]]
    return [[*beside, *rest], ["--alone", *rest]]


def exit_code(codes: Sequence[int]) -> int:
    """The worst of all runs; that nothing was selected counts only when it was so in each."""
    selected = [code for code in codes if code != NONE_SELECTED]
    return max(selected, default=int(NONE_SELECTED))


def main(words: Sequence[str]) -> int:
    """Run the parts one after the other; one that was interrupted, or could not begin, is the last."""
    if "" in words:
        print("foobar test: an empty argument; is a variable not set?", file=sys.stderr)
        return EXIT_USAGE
    codes: list[int] = []
    for part in parts(words, len(os.sched_getaffinity(0))):
        codes.append(subprocess.call([sys.executable, "-m", "pytest", *part]))
        if codes[-1] not in (OK, FAILED, NONE_SELECTED):
            break
    return exit_code(codes)


# --- within pytest: which tests belong to a part -------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--beside", action="store_true", help="only tests that others may run beside")
    parser.addoption("--alone", action="store_true", help="only tests that measure times, and must be alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the part that was asked for."""
    if not config.getoption("--beside") and not config.getoption("--alone"):
        return
    alone = bool(config.getoption("--alone"))
    others = [item for item in items if bool(item.get_closest_marker("alone")) != alone]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
