"""The signed session cookie: it names the visitor, and the session, which ends for all its copies by logging out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from flask import current_app, request, session

from services.site import gtid, requestid
from services.site.store import Caller, User


@dataclass(frozen=True)
class Visitor:
    """A user who is logged in."""

    id: int
    name: str


def current() -> Visitor | None:
    """The user who is logged in."""
    return Visitor(session["id"], session["name"]) if "id" in session else None


def pseudonym(name: str) -> str:
    """A name as logs may hold it: the same for the same name, and only whoever has the key can try which it is."""
    key = str(current_app.config["SECRET_KEY"]).encode()
    return hmac.new(key, name.casefold().encode(errors="replace"), hashlib.sha256).hexdigest()[:12]


def caller() -> Caller:
    """The present request, as the store needs it."""
    request_id = requestid.request_id(request.headers.get(requestid.HEADER))
    return Caller(request_id, session.get("gtid", ""), session.get("session", ""))


def log_in(user: User) -> None:
    """Begin a new session, so that nothing planted in the old one lives on."""
    log_out()
    session.permanent = True
    session["id"], session["name"], session["session"] = user.id, user.name, secrets.token_urlsafe(16)


def log_out() -> None:
    """Forget all but the last write: the next user of this browser must still see it."""
    seen = session.get("gtid")
    session.clear()
    if seen:
        remember(seen)


def remember(position: str) -> None:
    """Keep the position of a write, for the reads that follow on whichever server."""
    if gtid.is_position(position):
        session["gtid"] = position
