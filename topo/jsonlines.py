"""Logs of JSON lines, read back. Strangers have a part in what daemons log: what is no JSON object is passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


def rows(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, content) of each line that is a JSON object; as editors count, from 1 and by newlines alone."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        row = row_of(line)
        if row is not None:
            yield number, row


def row_of(line: bytes) -> dict[str, Any] | None:
    """A line's JSON object; None for plain words, for half a line, and for bytes that are no text."""
    if line.startswith(b"{"):
        with suppress(ValueError, RecursionError):
            row = json.loads(line.decode(errors="replace"))
            return row if isinstance(row, dict) else None
    return None
