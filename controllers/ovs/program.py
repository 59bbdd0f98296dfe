"""Running one of Open vSwitch's programs."""

from __future__ import annotations

import subprocess

from topo.errors import FoobarError, MissingError


def run(*argv: str, said: str = "") -> str:
    """Run a program and return its output. Raises MissingError when it is not installed, FoobarError when it fails."""
    try:
        result = subprocess.run(argv, input=said, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        raise MissingError(f"{argv[0]} is not installed (package openvswitch-switch)") from None
    if result.returncode:
        raise FoobarError(f"{' '.join(argv[:3])}: failed", detail=result.stderr.strip())
    return result.stdout
