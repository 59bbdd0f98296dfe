"""What only the testbed's own parts may know: new at every boot, never on a disk of the machine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from services.pki import Authority, KeyPair


def _token() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Secrets:
    """Passwords of the database accounts, the sessions' key, and the site's certificate with its authority's."""

    read_password: str = field(default_factory=_token, repr=False)
    write_password: str = field(default_factory=_token, repr=False)
    replication_password: str = field(default_factory=_token, repr=False)
    session_key: str = field(default_factory=_token, repr=False)
    authority: str = ""
    site: KeyPair = field(default=KeyPair("", ""), repr=False)


def fresh(site: str) -> Secrets:
    """New secrets, with a certificate for ``site`` from a new authority."""
    authority = Authority()
    return Secrets(authority=authority.certificate, site=authority.issue(site))
