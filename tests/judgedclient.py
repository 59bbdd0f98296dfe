"""A visitor of the site in the tests whose requests the web application firewall judges too, where its library is."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import cache
from typing import Any

from flask.testing import FlaskClient
from werkzeug.datastructures import EnvironHeaders
from werkzeug.test import TestResponse

from services.site.routes import ROUTES
from services.waf.engine import Engine, JudgedRequest, engine
from topo.errors import MissingError

PAGES = {route.path for route in ROUTES}


@cache
def shared_engine() -> Engine | None:
    """The firewall, loaded once for all tests; None on a machine without it."""
    stack = ExitStack()
    atexit.register(stack.close)
    try:
        return stack.enter_context(engine())
    except MissingError:
        return None


class JudgedClient(FlaskClient):
    """What a page accepts, the firewall lets through; but not a script, which the page would show as mere text."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        answer = super().open(*args, **options)
        judge = shared_engine()
        if judge is not None and answer.status_code < 400 and answer.request.path in PAGES:
            refusal = judge.refusal(_as_sent(answer.request.environ))
            assert refusal is None or "<script" in refusal.matched, refusal
        return answer


def _as_sent(environ: dict[str, Any]) -> JudgedRequest:
    body = environ["wsgi.input"]
    body.seek(0)
    headers = [(name, value.encode("latin-1")) for name, value in EnvironHeaders(environ).items()]
    return JudgedRequest(environ["REQUEST_METHOD"], environ["REQUEST_URI"], tuple(headers), body.read())
