"""Waiting: until the condition holds, never past the deadline by much, and saying what was seen last."""

from __future__ import annotations

import itertools
import time

import pytest

from topo import wait
from topo.errors import DeadlineError


def test_it_returns_as_soon_as_the_condition_holds() -> None:
    seen = iter(["nothing", "half of it", None])
    wait.until(lambda: next(seen), what="all of it", seconds=5)
    assert list(seen) == []


def test_it_looks_once_even_without_time() -> None:
    wait.until(lambda: None, what="it", seconds=0)


def test_it_says_what_it_saw_last() -> None:
    count = itertools.count(1)
    began = time.monotonic()
    with pytest.raises(DeadlineError) as caught:
        wait.until(lambda: f"look {next(count)}", what="the moon", seconds=0.05)
    assert time.monotonic() - began < 1
    assert str(caught.value).startswith("the moon: not within 0.05 s; last seen: look ")
    assert str(caught.value) != "the moon: not within 0.05 s; last seen: look 1"


def test_pauses_grow_to_50_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    looks = iter(["no"] * 20 + [None])
    wait.until(lambda: next(looks), what="it", seconds=60)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.005, 0.05)


def test_an_error_of_the_look_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        wait.until(lambda: str(1 / 0), what="it", seconds=1)
