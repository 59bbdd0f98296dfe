"""The journey as the testbed's main job: run once, shown, and its exit code returned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def once(testbed: Testbed, runs: Path) -> int:
    """Follow one visit on a testbed; results go below ``runs``. Returns the verdict's exit code."""
    from experiments.engine import runner
    from experiments.journey.experiment import Journey

    return runner.run_all([Journey()], testbed, runs)
