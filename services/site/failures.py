"""The answers when something goes wrong: a page or JSON in the site's own words."""

from __future__ import annotations

import logging
import os

from flask import Flask, Response, jsonify, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable

from services.site import requestid
from services.site.exceptions import StoreUnavailable

log = logging.getLogger("foobar.site")

RETRY_AFTER_S = 2

WORDS = {
    404: ("Nothing here", "There is no page at this address. It may have moved, or never existed."),
    405: ("Not like that", "This address exists, but not for this kind of request."),
    413: ("Too much", "That was more than this site takes in one request."),
    500: ("That broke", "The server ran into an error of its own. It has been logged."),
    503: ("Back in a moment", "The database is not answering right now. Nothing you did; please try again."),
}


def install(app: Flask, broken: str | None = None) -> None:
    """Answer errors of every kind in the site's look; all is an error while there is a file `broken`."""
    if broken is not None:
        app.before_request(lambda: fail_if_broken(broken))
    app.register_error_handler(StoreUnavailable, unavailable)
    app.register_error_handler(HTTPException, failed)


def fail_if_broken(broken: str) -> None:
    """500 while that file is there."""
    if os.path.exists(broken):
        raise InternalServerError


def wants_json() -> bool:
    """True if the client prefers JSON to a page."""
    offered = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(offered) == "application/json"


def unavailable(error: StoreUnavailable) -> Response:
    """503 with Retry-After; the reason goes to the log, not to the visitor."""
    log.error("req=%s 503 %s %s: %s", _request_id(), request.method, request.path, error)
    return failed(ServiceUnavailable(retry_after=RETRY_AFTER_S))


def failed(error: HTTPException) -> Response:
    """The answer to an HTTP error; headers such as Allow and Retry-After are kept."""
    code = error.code or 500
    title, text = WORDS.get(code, (error.name, error.description or ""))
    if isinstance(error, CSRFError):
        log.info("req=%s refused: %s", _request_id(), error.description)
        title, text = (
            "This form is too old",
            "It was not sent from a fresh page. Go back, reload, send again.",
        )
    response = make_response(error.get_response())
    response.vary.add("Accept")
    if wants_json():
        response.data = jsonify(error=text).data
        response.mimetype = "application/json"
    else:
        response.data = render_template("failure.html", code=code, title=title, text=text, reference=_request_id())
    return response


def _request_id() -> str:
    return requestid.request_id(request.headers.get(requestid.HEADER))
