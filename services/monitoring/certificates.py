"""The end of certificates, from their bytes: a library for all of X.509 would be half of the exporter's memory."""

from __future__ import annotations

import base64
import calendar
import os
import re
import stat
import time
from functools import lru_cache

from topo import folders

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
MOST_BYTES = 2**16
SEQUENCE, VERSION, UTC, GENERALIZED = 0x30, 0xA0, 0x17, 0x18


def end(path: str) -> float:
    """The first end among a file's certificates (s since 1970). A link is not followed.

    Raises OSError for what cannot be read, ValueError for what has no certificate.
    """
    descriptor = os.open(path, folders.READ | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path}: no plain file")
        content = os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)
    return earliest(content)


@lru_cache(maxsize=64)
def earliest(content: bytes) -> float:
    """The first end among the certificates in a text."""
    ends = [not_after(base64.b64decode(body)) for body in PEM.findall(content)]
    if not ends:
        raise ValueError("no certificate")
    return min(ends)


def not_after(der: bytes) -> float:
    """A certificate's end. Raises ValueError for bytes that are none."""
    try:
        _, body, _ = _element(_element(der)[1])
        kind, _, rest = _element(body)  # the version, which may be left out, or the number
        skipped = 3 if kind == VERSION else 2
        for _ in range(skipped):
            rest = _element(rest)[2]
        kind, validity, _ = _element(rest)
        if kind != SEQUENCE:
            raise ValueError("no validity")
        kind, written, _ = _element(_element(validity)[2])
    except IndexError:
        raise ValueError("cut short") from None
    return _moment(kind, written.decode("ascii"))


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """The first element's kind and content, and what comes after it."""
    kind, length, at = der[0], der[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(der[2:at], "big")
    if at + length > len(der):
        raise ValueError("cut short")
    return kind, der[at : at + length], der[at + length :]


def _moment(kind: int, written: str) -> float:
    form = {UTC: "%y%m%d%H%M%SZ", GENERALIZED: "%Y%m%d%H%M%SZ"}.get(kind)
    if form is None:
        raise ValueError("no time")
    return float(calendar.timegm(time.strptime(written, form)))
