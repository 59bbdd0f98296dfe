"""The door: what of a request cannot be read is refused here, so that no page, and no library, meets it."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.exceptions import BadRequest


def install(app: Flask) -> None:
    """Stand in front of all that looks into requests, which is done in the order of installation."""
    app.before_request(refuse_unreadable)


def refuse_unreadable() -> None:
    """400 for a Referer that is no address and for JSON that is nested too deep; both end in exceptions elsewhere."""
    try:
        _ = urlsplit(request.referrer or "").port
        if request.method == "POST" and request.is_json:
            request.get_json()
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"This request cannot be read: {error}.") from error
