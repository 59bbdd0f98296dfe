"""Every error the testbed raises on purpose, with the exit code it ends in.

    FoobarError                 3   the testbed itself broke
    |- UsageError              64   the request makes no sense: a flag, a name, a file
    |  |- PlanError                 a plan contradicts itself
    |  `- PolicyError               a rule names what the plan does not have
    |- RefusedError             2   the testbed is not in the state the request needs
    |- MissingError             3   a program or a kernel feature is not there
    |- ServiceError             3   a daemon's configuration is refused, or it died, or it never became ready
    `- DeadlineError            3   a condition did not come true in time

Libraries raise these; only a ``main`` turns one into a line on standard error and an exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_HOLDS, EXIT_FAILS, EXIT_UNKNOWN, EXIT_BROKEN, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_PIPE = 0, 1, 2, 3, 64, 130, 141


class FoobarError(Exception):
    """The root of the tree; ``detail`` holds further lines (a log's tail) to show under the first."""

    exit_code = EXIT_BROKEN

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class UsageError(FoobarError):
    """The request makes no sense: a flag, a name or a file is wrong."""

    exit_code = EXIT_USAGE


class PlanError(UsageError):
    """A plan contradicts itself, or is asked for what it does not have."""


class PolicyError(UsageError):
    """A rule names what the plan does not have, or is no rule."""


class RefusedError(FoobarError):
    """The testbed is not in the state that the request needs."""

    exit_code = EXIT_UNKNOWN


class MissingError(FoobarError):
    """A program or a kernel feature is not there."""


class ServiceError(FoobarError):
    """A daemon refused its configuration, died, or never became ready."""


class DeadlineError(FoobarError):
    """A condition did not come true in time."""


def among(word: str, possible: Iterable[str]) -> str:
    """The words that a wrong word could have been, and the one that was probably meant."""
    words = list(possible)
    close = difflib.get_close_matches(word, words, n=1)
    return ", ".join(words) + (f" (did you mean {close[0]}?)" if close else "")
