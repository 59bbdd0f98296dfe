"""MariaDB's global transaction ids: how far a session has seen, and whether a server is that far.

A position is a comma-separated list of `domain-server-sequence`, one for each domain.
"""

from __future__ import annotations

import re

_ONE = r"\d{1,10}-\d{1,10}-\d{1,20}"
_POSITION = re.compile(rf"{_ONE}(?:,{_ONE})*")


def is_position(text: str) -> bool:
    """Whether `text` is a position MariaDB would accept."""
    return _POSITION.fullmatch(text) is not None


def covers(here: str, wanted: str) -> bool:
    """Whether a server at position `here` has every transaction up to `wanted`."""
    reached = _sequences(here)
    return all(reached.get(domain, -1) >= number for domain, number in _sequences(wanted).items())


def _sequences(position: str) -> dict[str, int]:
    gtids = (gtid.split("-") for gtid in position.split(",") if is_position(gtid))
    return {domain: int(number) for domain, _, number in gtids}
