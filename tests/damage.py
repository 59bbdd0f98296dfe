"""Damage done to good bytes, as hypothesis draws it: flipped, cut, put in, repeated, lengths that lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from hypothesis import strategies as st

Edit: TypeAlias = Callable[[bytes, int, bytes], bytes]

EDITS: tuple[Edit, ...] = (
    lambda data, at, drawn: data[:at] + drawn + data[at + len(drawn) :],
    lambda data, at, drawn: data[:at] + drawn + data[at:],
    lambda data, at, drawn: data[:at] + data[at + len(drawn) :],
    lambda data, at, drawn: data[:at],
    lambda data, at, drawn: data[:at] + data[at : at + 64] + data[at:],
    lambda data, at, drawn: data[:at] + b"\xff" * len(drawn) + data[at + len(drawn) :],
    lambda data, at, drawn: data[:at] + bytes(len(drawn)) + data[at + len(drawn) :],
)


@st.composite
def damaged(draw: st.DrawFn, samples: Sequence[bytes]) -> bytes:
    """One of the samples after one to four edits; now and then any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=96))
    data = draw(st.sampled_from(samples))
    for edit in draw(st.lists(st.sampled_from(EDITS), min_size=1, max_size=4)):
        data = edit(data, draw(st.integers(0, len(data))), draw(st.binary(min_size=1, max_size=8)))
    return data
