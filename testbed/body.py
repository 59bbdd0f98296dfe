"""The work that is done with a testbed once it is steady: a command gives it, the session calls it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads mininet
    from testbed.testbed import Testbed

    #: one visit to the site, followed and shown; the exit code. It is given from above: the testbed knows no experiment
    Visit = Callable[[Testbed, Path], int]


class Body(ABC):
    """The work on a steady testbed; returns the exit code."""

    @abstractmethod
    def __call__(self, testbed: Testbed) -> int: ...
