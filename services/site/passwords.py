"""Password hashes, slow for a guesser and small for a server.

scrypt with N=2^13, r=8, p=10 is one of the settings OWASP's Password Storage Cheat Sheet lists as equally
strong. Its default in werkzeug (N=2^15, p=1) takes 32 MB for each hash in flight and a third of the
work of OWASP's setting of that size; this one takes 8 MB and more time (0.14 s where it was measured),
so several threads that hash at once do not outgrow a small server. glibc keeps that memory once for each
thread (76 MB against 42 MB seen in a worker of four threads) unless it runs with MALLOC_ARENA_MAX=1.
"""

from __future__ import annotations

from werkzeug.security import check_password_hash, generate_password_hash

METHOD = "scrypt:8192:8:10"


class Passwords:
    """Makes and checks hashes by one method."""

    def __init__(self, method: str | None = None) -> None:
        self.method = method or METHOD
        self._nobody = generate_nobody(self.method)

    def hash(self, password: str) -> str:
        """A salted hash that names its own method."""
        return generate_password_hash(password, method=self.method)

    def match(self, known: str | None, password: str) -> bool:
        """True if `password` belongs to the hash; without a hash (None: no such user) as slow as with one."""
        return check_password_hash(known or self._nobody, password)


def generate_nobody(method: str) -> str:
    """A hash no password has (its digest is of the wrong length), checked at the usual price."""
    return f"{method}$nobody$00"
