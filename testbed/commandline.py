"""The parts that every command line shares: reading arguments, and turning errors into lines and exit codes."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from testbed import standardstreams
from testbed.standardstreams import CheckedOutput
from topo.early import INTERRUPTED
from topo.errors import EXIT_BROKEN, EXIT_HOLDS, EXIT_INTERRUPTED, EXIT_PIPE, FoobarError, UsageError, among
from topo.plaintext import forgive, say

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")


class Parser(argparse.ArgumentParser):
    """argparse, with our exit code for bad usage and one line instead of two."""

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """The options of a command line, none of whose arguments may be empty."""
        refuse_empty(args)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A wrong verb is told apart from a wrong value: it names those that there are, and the one that was meant."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            raise UsageError(f"{self.prog.removeprefix('foobar ')}: say one of: {among(str(value), action.choices)}")
        super()._check_value(action, value)


def refuse_empty(words: Sequence[str]) -> None:
    """Raises UsageError for an empty argument: ``down "$UNSET"`` must not mean ``down``."""
    if "" in words or any(word.startswith("--") and word.endswith("=") for word in words):
        raise UsageError(f"{shlex.join(words)}: an empty argument; is a variable not set?")


def seconds(flag: str, duration: str) -> float:
    """The length of a time as people say it: 30s, 5m, 1h. Raises UsageError."""
    parts = _DURATION.fullmatch(duration)
    if parts is None:
        raise UsageError(f"{flag} {duration}: no time; say for example 30s, 5m or 1h")
    return float(parts[1]) * UNITS[parts[2]]


def guarded(work: Callable[[], int]) -> int:
    """Run a command; errors become a line (and a log's tail) on standard error and the right exit code."""
    with standardstreams.checked() as output:
        forgive(sys.stdout, sys.stderr)
        return output.exit_code(_code(work, output))


def _code(work: Callable[[], int], output: CheckedOutput) -> int:
    try:
        return work()
    except FoobarError as error:
        say(f"foobar: {error}", error=True)
        if error.detail:
            say(error.detail, error=True)
        return error.exit_code
    except KeyboardInterrupt:
        say(INTERRUPTED, error=True)
        return EXIT_INTERRUPTED
    except SystemExit as leaving:
        if leaving.code in (None, EXIT_HOLDS, EXIT_INTERRUPTED):  # --help, and a testbed that was asked to stop
            return EXIT_INTERRUPTED if leaving.code else EXIT_HOLDS
        say(f"foobar: a library gave up with exit status {leaving.code}", error=True)
        return EXIT_BROKEN
    except BrokenPipeError:  # in the middle of it: what it would have ended with is not known
        return EXIT_PIPE
    except Exception as error:  # never Python's own 1, which means "the claim fails"
        if error is output.error:
            return EXIT_HOLDS
        traceback.print_exc()
        say(f"foobar: unexpected {type(error).__name__}: {error}", error=True)
        return EXIT_BROKEN
