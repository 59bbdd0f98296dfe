"""A pause of detection's blocks: most experiments attack on purpose, and are about something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.detection.watch import PAUSED
from services.service import below
from topo.plan import MONITOR

if TYPE_CHECKING:
    from testbed.core import TestbedCore


@contextmanager
def blocks_paused(testbed: TestbedCore) -> Iterator[None]:
    """In this block attacks are found and told, and nobody is blocked for them."""
    if not testbed.profile.detecting:
        yield
        return
    folder, name = below(testbed.insides[testbed.plan.host_of(MONITOR).name], PAUSED, make=True)
    folder.write(name, "")
    try:
        yield
    finally:
        folder.remove(name)
