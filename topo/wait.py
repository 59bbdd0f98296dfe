"""Waiting for a condition, with a deadline; the error says what the last look saw."""

from __future__ import annotations

import time
from collections.abc import Callable

from topo.errors import DeadlineError


def until(look: Callable[[], str | None], *, what: str, seconds: float, every: float = 0.005) -> None:
    """Call ``look`` until it returns None.

    ``look`` returns None when the condition holds, else a short text of what it saw. The pause between looks
    grows from ``every`` to at most 50 ms, so a quick condition is noticed quickly and a slow one costs little.

    Raises DeadlineError, carrying the last look's text, after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    pause = every
    while (seen := look()) is not None:
        if time.monotonic() >= deadline:
            raise DeadlineError(f"{what}: not within {seconds:g} s; last seen: {seen}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
