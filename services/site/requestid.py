"""The request id: one name for a request in every log, from HAProxy's to MariaDB's slow log."""

from __future__ import annotations

import re
import time

HEADER = "X-Request-ID"
UNKNOWN = "-"

_SAFE = re.compile(r"[A-Za-z0-9-]{1,64}")


def request_id(raw: str | None) -> str:
    """`raw` if it is a plain id, else "-"; nothing that could end an SQL comment gets through."""
    return raw if raw is not None and _SAFE.fullmatch(raw) else UNKNOWN


def tagged(sql: str, request: str) -> str:
    """The statement with the id and the time in front, as MariaDB logs it, whose own times are whole seconds.

    The id is checked again here.
    """
    return f"/* req={request_id(request)} at={time.time():.6f} */ {sql}"
