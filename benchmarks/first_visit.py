"""The shortest visit that writes: sign up, log in, post one message, from an emulated host, over HTTPS, by name."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPResponse, HTTPSConnection
from http.cookies import SimpleCookie
from typing import cast
from urllib.parse import urlencode

import dns.message
import dns.query
import dns.rdatatype

from testbed.hostroot import BUNDLE
from testbed.namespaces import Inside
from topo.errors import FoobarError
from topo.plan import SITE

TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
SECONDS = 5.0
CREATED, SEE_OTHER, OK = 201, 303, 200
ACCOUNT = {"name": "benchmark", "password": "first-write"}


class FirstVisitor:
    """One connection from a host to the site, with a cookie jar."""

    def __init__(self, host: Inside, resolver: str) -> None:
        trusted = (host.home / "etc" / BUNDLE).read_text()
        self._connection = HTTPSConnection(SITE, timeout=SECONDS)
        raw = host.connect(443, _address(host, resolver), SECONDS)
        self._connection.sock = ssl.create_default_context(cadata=trusted).wrap_socket(raw, server_hostname=SITE)
        self._cookies: dict[str, str] = {}

    def token(self, page: str) -> str:
        """The token that a page's form must be sent with."""
        match = TOKEN.search(self._ask("GET", page, OK))
        if not match:
            raise FoobarError(f"https://{SITE}{page}: no form")
        return match[1]

    def send(self, page: str, fields: Mapping[str, str], expected: int, accept: str = "text/html") -> str:
        """Send a page's form; the answer's text. Raises FoobarError when the answer is not the expected one."""
        form = {"csrf_token": self.token(page), **fields}
        kind = "application/x-www-form-urlencoded"
        sent = {"Content-Type": kind, "Referer": f"https://{SITE}{page}", "Accept": accept}
        return self._ask("POST", page, expected, sent, urlencode(form))

    def _ask(
        self, method: str, page: str, expected: int, headers: Mapping[str, str] | None = None, body: str | None = None
    ) -> str:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        self._connection.request(method, page, body, {**(headers or {}), "Cookie": cookies})
        response = self._connection.getresponse()
        self._keep_cookies(response)
        text = response.read().decode()
        if response.status != expected:
            raise FoobarError(f"{method} https://{SITE}{page}: status {response.status}", detail=text[:500])
        return text

    def _keep_cookies(self, response: HTTPResponse) -> None:
        for line in response.headers.get_all("Set-Cookie", []):
            self._cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}


def write(host: Inside, resolver: str) -> int:
    """The number of the message that was written. ``resolver``: the address of the DNS server to ask."""
    browser = FirstVisitor(host, resolver)
    browser.send("/signup", ACCOUNT, SEE_OTHER)
    browser.send("/login", ACCOUNT, SEE_OTHER)
    answer = browser.send("/messages", {"message": "the first one"}, CREATED, accept="application/json")
    return int(json.loads(answer)["id"])


def _address(host: Inside, resolver: str) -> str:

    with host.open_socket(socket.SOCK_DGRAM) as datagrams:
        datagrams.setblocking(False)
        answer = dns.query.udp(dns.message.make_query(SITE, "A"), resolver, SECONDS, sock=datagrams)
    addresses = next(records for records in answer.answer if records.rdtype == dns.rdatatype.A)
    return cast(str, addresses[0].to_text())
