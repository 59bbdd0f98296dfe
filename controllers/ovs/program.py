"""Running one of Open vSwitch's programs."""

from __future__ import annotations

from topo import wait
from topo.errors import FoobarError, MissingError


def run(*argv: str, said: str = "") -> str:
    """Run a program and return its output.

    Raises MissingError when it is not installed, DeadlineError when it does not end, FoobarError when it fails.
    """
    try:
        result = wait.for_command(argv, input=said)
    except FileNotFoundError:
        raise MissingError(f"{argv[0]} is not installed (package openvswitch-switch)") from None
    if result.returncode:
        raise FoobarError(f"{' '.join(argv[:3])}: failed", detail=result.stderr.strip())
    return result.stdout
