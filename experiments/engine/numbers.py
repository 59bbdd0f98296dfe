"""A verdict's numbers, made flat and put into words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.engine.distribution import is_distribution

NOTHING = "-"


def flat(numbers: Mapping[str, Any], *, split: bool = True, within: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers one by one, as ``gap_ms.median``; distributions stay whole without ``split``."""
    for name, value in numbers.items():
        if isinstance(value, Mapping) and (split or not is_distribution(value)):
            yield from flat(value, split=split, within=f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def said(value: Any) -> str:
    """A number for people: four digits that mean something, no exponents, lists with commas."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return (
            f"{value:,.0f}"
            if abs(value) >= 1000
            else f"{value:.4g}"
            if abs(value) >= 0.001 or not value
            else f"{value:f}"
        )
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(said(item) for item in value) or "none"
    return str(value)
