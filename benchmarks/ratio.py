"""Two series measured in turns, and what can be said of their ratio. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

SEED = 20240229
RESAMPLES = 2000
CONFIDENCE = 0.95


def ratio(ours: Sequence[float], reference: Sequence[float]) -> float | None:
    """The ratio of the medians. Equal medians are 1, zeros too; None over a zero, which is no ratio."""
    above, below = median(ours), median(reference)
    if above == below:
        return 1.0
    return above / below if below else None


def interval(ours: Sequence[float], reference: Sequence[float]) -> tuple[float, float] | None:
    """A bootstrap interval of the ratio, the same for the same series; None where some resample has no ratio.

    Whole pairs are drawn: what slowed the machine down for a while met both of a pair.
    """
    chance = random.Random(SEED)
    pairs = list(zip(ours, reference, strict=True))
    ratios = []
    for _ in range(RESAMPLES):
        drawn = ratio(*zip(*chance.choices(pairs, k=len(pairs)), strict=True))
        if drawn is None:
            return None
        ratios.append(drawn)
    ratios.sort()
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return ratios[tail], ratios[-1 - tail]
