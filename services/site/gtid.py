"""MariaDB's global transaction ids: the position that a session has seen, and whether a server has reached it.

A position is a comma-separated list of `domain-server-sequence`, one for each domain.
"""

from __future__ import annotations

import re

_ONE = r"\d{1,10}-\d{1,10}-\d{1,20}"
_POSITION = re.compile(rf"{_ONE}(?:,{_ONE})*")


def is_position(text: str) -> bool:
    """True if `text` is a position that MariaDB would accept."""
    return _POSITION.fullmatch(text) is not None


def covers(here: str, wanted: str) -> bool:
    """True if a server at position `here` has every transaction up to `wanted`."""
    reached = _sequences(here)
    return all(reached.get(domain, -1) >= number for domain, number in _sequences(wanted).items())


def _sequences(position: str) -> dict[str, int]:
    gtids = (gtid.split("-") for gtid in position.split(",") if is_position(gtid))
    return {domain: int(number) for domain, _, number in gtids}
