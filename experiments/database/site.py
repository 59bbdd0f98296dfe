"""A write as a visitor makes it: HTTPS to the site, which writes through its application; repeated under one key."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from experiments.database.way import NobodyKnowsError, NotDoneError
from experiments.visit import TRUST, Browser

ANSWER_SECONDS = 1.0
CREATED = 201


class Site:
    """`Way` through the whole site. The key that comes with each message makes it harmless to send it again."""

    repeatable = True

    def __init__(self, url: str, session: Mapping[str, str]) -> None:
        self._host = str(urlsplit(url).hostname)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "Referer": url, **session}
        self._connection: http.client.HTTPSConnection | None = None

    def write(self, text: str) -> None:
        body, headers = json.dumps({"message": text}), {**self._headers, "Idempotency-Key": text.replace(" ", "-")}
        connection = self._open()
        try:
            connection.request("POST", "/messages", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise NobodyKnowsError(str(error)) from error
        if answer.status != CREATED:
            refused = 400 <= answer.status < 500
            raise (NotDoneError if refused else NobodyKnowsError)(f"status {answer.status}")

    def _open(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            trust = ssl.create_default_context(cafile=TRUST)
            connection = http.client.HTTPSConnection(self._host, timeout=ANSWER_SECONDS, context=trust)
            try:
                connection.connect()
            except OSError as error:
                raise NotDoneError(str(error)) from error
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def log_in(url: str, name: str) -> dict[str, str]:
    """Sign ``name`` up and log in: the headers that a program sends with each message."""
    browser, password = Browser(), secrets.token_urlsafe(12)
    signup = browser.open(urljoin(url, "/signup"))
    login = browser.submit(signup.form_with("password"), name=name, password=password)
    board = browser.submit(login.form_with("password"), name=name, password=password)
    token = board.form_with("message").fields["csrf_token"]
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.client.cookies.jar)
    browser.client.close()
    return {"Cookie": cookies, "X-CSRFToken": token}
