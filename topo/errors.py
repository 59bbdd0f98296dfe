"""Every error the testbed raises on purpose, with the exit code it ends in.

    FoobarError                 3   the testbed itself broke
    |- UsageError              64   what was asked cannot be meant: a flag, a name, a file
    |  |- PlanError                 a plan contradicts itself
    |  `- PolicyError               a rule names what the plan does not have
    |- RefusedError             2   the testbed is not in the state the request needs
    |- MissingError             3   a program or a kernel feature is not there
    |- ServiceError             3   a daemon's configuration is refused, or it died, or it never became ready
    `- DeadlineError            3   a condition did not come true in time

Libraries raise these; only a ``main`` turns one into a line on standard error and an exit code.
"""

EXIT_HOLDS, EXIT_FAILS, EXIT_UNKNOWN, EXIT_BROKEN, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 3, 64, 130


class FoobarError(Exception):
    """The root of the tree; ``detail`` holds further lines (a log's tail) to show under the first."""

    exit_code = EXIT_BROKEN

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class UsageError(FoobarError):
    exit_code = EXIT_USAGE


class PlanError(UsageError):
    pass


class PolicyError(UsageError):
    pass


class RefusedError(FoobarError):
    exit_code = EXIT_UNKNOWN


class MissingError(FoobarError):
    pass


class ServiceError(FoobarError):
    pass


class DeadlineError(FoobarError):
    pass
