"""The answers when something goes wrong: a page or JSON in the site's own words."""

from __future__ import annotations

import logging
import os
import time

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from flask.globals import request_ctx
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError, ServiceUnavailable, TooManyRequests

from services.site import requestid
from services.site.exceptions import Busy, StoreUnavailable

log = logging.getLogger("foobar.site")

RETRY_AFTER_S = 2
# when the balancer got the request, in ms since 1970, however often it has asked since; and when that is long ago
BEGAN = "X-Request-Began"
LATE_S = 1.0

WORDS = {
    404: ("Nothing here", "There is no page at this address. It may have moved, or never existed."),
    405: ("Not like that", "This address exists, but not for this kind of request."),
    413: ("Too much", "That was more than this site takes in one request."),
    429: ("One moment", "So many people are logging in right now that you would have to wait. Please try again soon."),
    500: ("That broke", "The server ran into an error of its own. It has been logged."),
    503: ("Back in a moment", "The database is not answering right now. Nothing you did; please try again."),
    504: ("Back in a moment", "That took too long. Nothing you did; please try again."),
}


def install(app: Flask, broken: str | None = None) -> None:
    """Answer errors of every kind in the site's look; all is an error while there is a file `broken`."""
    if broken is not None:
        app.before_request(lambda: fail_if_broken(broken))
    app.register_error_handler(StoreUnavailable, unavailable)
    app.register_error_handler(Busy, lambda _: failed(TooManyRequests(retry_after=RETRY_AFTER_S)))
    app.register_error_handler(HTTPException, failed)


def fail_if_broken(broken: str) -> None:
    """500 while that file is there."""
    if os.path.exists(broken):
        raise InternalServerError


def wants_json() -> bool:
    """True if the client prefers JSON to a page."""
    offered = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(offered) == "application/json"


def is_late() -> bool:
    """True if the balancer got this request so long ago that it must not ask another server; it does not after 504."""
    began = request.headers.get(BEGAN, "")
    return began.isascii() and began.isdigit() and time.time() - int(began[:16]) / 1000 > LATE_S


def unavailable(error: StoreUnavailable) -> Response:
    """503 with Retry-After; the reason goes to the log, not to the visitor."""
    g.visitor = None  # or the page would ask the database for the name
    log.error("req=%s 503 %s %s: %s", _request_id(), request.method, request.path, error)
    return failed(ServiceUnavailable(retry_after=RETRY_AFTER_S))


def failed(error: HTTPException) -> Response:
    """The answer to an HTTP error; headers such as Allow and Retry-After are kept."""
    code = error.code or 500
    if code in (500, 503) and is_late():
        code = 504
    title, text = WORDS.get(code, (error.name, error.description or ""))
    if isinstance(error, CSRFError):
        log.info("req=%s refused: %s", _request_id(), error.description)
        title, text = (
            "This form is too old",
            "It was not sent from a fresh page. Go back, reload, send again.",
        )
    response = make_response(error.get_response(), code)
    response.vary.add("Accept")
    if wants_json():
        response.data = jsonify(error=text).data
        response.mimetype = "application/json"
    elif request_ctx.url_adapter is not None:  # without one (an impossible Host) no page can be made, as all have links
        response.data = render_template("failure.html", code=code, title=title, text=text, reference=_request_id())
    return response


def _request_id() -> str:
    return requestid.request_id(request.headers.get(requestid.HEADER))
