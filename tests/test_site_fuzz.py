"""Whatever a stranger sends, the site answers, and never with 500: what is malformed is the stranger's fault."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from malformedrequests import LoggedIn, MalformedRequest, malformed
from test_site import COOKIE, FormClient, site

from services.site.memorystore import MemoryStore


@pytest.fixture(scope="module")
def app() -> Flask:
    return site(MemoryStore())


@pytest.fixture(scope="module")
def alice(app: Flask) -> LoggedIn:
    browser = FormClient(app)
    browser.sign_up()
    browser.log_in()
    token = browser.hidden("/messages", "csrf_token")
    cookie = browser.client.get_cookie(COOKIE, domain="www.foobar.com")
    assert cookie is not None
    return LoggedIn(f"{COOKIE}={cookie.value}", token)


def status_of(app: Flask, request: MalformedRequest) -> int:
    said: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        said.append(status)
        for name, value in headers:
            (name + value).encode("latin-1")

    answer: Iterable[bytes] = app.wsgi_app(request.environ(), start)
    b"".join(answer)
    getattr(answer, "close", lambda: None)()
    return int(said[-1].split()[0])


# of a body that ends in the middle of its files, Werkzeug leaves those that it has read to be closed with their memory
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=4 * settings.default.max_examples)
@given(st.randoms(use_true_random=False))
def test_malformed_requests_are_answered_below_500(app: Flask, alice: LoggedIn, draw: random.Random) -> None:
    request = malformed(draw, alice)
    assert status_of(app, request) < 500, request
