"""A write as a visitor makes it: HTTPS to the site, which writes through its application; repeated under one key."""

from __future__ import annotations

import http.client
import json
import ssl

from experiments.db_failover.way import NobodyKnowsError, NotDoneError
from experiments.instruments.visit import TRUST
from topo.plan import SITE

ANSWER_SECONDS = 1.0
CREATED = 201


class Site:
    """`Way` through the whole site, for somebody logged in. Each message has a key, so sending it again is harmless."""

    repeatable = True

    def __init__(self, cookie: str, token: str) -> None:
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Referer": f"https://{SITE}/",
            "Cookie": cookie,
            "X-CSRFToken": token,
        }
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
            connection = http.client.HTTPSConnection(SITE, timeout=ANSWER_SECONDS, context=trust)
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
