"""Ctrl-C while a command begins: it is kept from the inside of a box until that can take it, and then taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from testbed import launcher
from testbed.box import Ties
from testbed.launcher import Launcher
from topo.early import BOX_VARIABLE
from topo.paths import PROJECT

INSIDE = {
    "a command": "from topo import early; early.arm(); print('goes on')",
    "a program of its own": "from testbed.interruption import Interruption; Interruption(); print('goes on')",
}


def interrupted_before_it_begins() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("struck", [True, False])
@pytest.mark.parametrize("inside", INSIDE)
def test_what_is_struck_while_the_inside_begins_ends_it_without_a_word(inside: str, struck: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INSIDE[inside]],
        cwd=PROJECT,
        env={**os.environ, BOX_VARIABLE: "{}"},
        preexec_fn=interrupted_before_it_begins if struck else None,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == ((130, "", "") if struck else (0, "goes on\n", ""))


def test_the_launcher_keeps_it_from_the_inside_and_not_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = []

    def started(*_: Any, **__: Any) -> None:
        blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))

    monkeypatch.setattr(launcher.subprocess, "Popen", started)
    Launcher("x", ["-c", ""], {})._spawn(Ties("x", 0, 1, 2))
    assert blocked == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
