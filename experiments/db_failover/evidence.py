"""What a run of ``db_failover`` leaves behind: how it is written down.

Sets of numbers are short text, ``1-340,351``, and many moments are the distances between them: the evidence of a
thousand faults stays small, and a person can read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

TICKS = 10_000  # a second, in the unit of `packed`


def spans(numbers: Iterable[int]) -> str:
    """The text of a set of numbers; the empty set is the empty text."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _runs(sorted(set(numbers))))


def numbers(text: str) -> set[int]:
    """The set that a text stands for. Raises ValueError for anything that `spans` would not write."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        found.update(range(int(first), int(last if dash else first) + 1))
    if spans(found) != text:
        raise ValueError(f"{text!r} is no set of numbers in order")
    return found


def _runs(ordered: list[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of consecutive numbers."""
    first = last = None
    for number in ordered:
        if last is not None and first is not None and number != last + 1:
            yield first, last
            first = None
        first, last = (number if first is None else first), number
    if first is not None and last is not None:
        yield first, last


def packed(times: Iterable[float], origin: float) -> str:
    """Many moments as short text: each one's distance from the one before it, in 0.1 ms, the first from ``origin``."""
    ticks = [round((each - origin) * TICKS) for each in sorted(times)]
    return " ".join(str(here - before) for before, here in zip([0, *ticks], ticks, strict=False))


def unpacked(text: str, origin: float) -> list[float]:
    """The moments that a text stands for."""
    moments, ticks = [], 0
    for step in text.split():
        ticks += int(step)
        moments.append(origin + ticks / TICKS)
    return moments
