"""A visit as a browser makes it, run on the client host: ``... visit URL NAME PASSWORD MESSAGE...``.

It looks the name up, speaks TLS and HTTP/2, keeps cookies, loads what a page refers to, fills in forms, follows
redirects as the site asks, and prints what it saw as one JSON object. ``--asks TEXT`` is typed into an address: it
opens the log-in page with that name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urljoin

import httpx

TRUST = "/etc/ssl/certs/ca-certificates.crt"
REDIRECTS = (301, 302, 303, 307, 308)
ASSET_TAGS = {"link": "href", "script": "src", "img": "src"}
SECONDS = 10.0


@dataclass
class PageForm:
    """A form of a page: where it goes and what its fields hold."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """A page as a browser reads it: title, text, forms, and the files it must load to show it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.title = ""
        self.forms: list[PageForm] = []
        self.assets: list[str] = []
        self._text: list[str] = []
        self._inside: list[str] = []
        with suppress(AssertionError):  # Python's parser has no other word for a declaration that it does not know
            self.feed(html)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ("title", "script", "style"):
            self._inside.append(tag)
        if tag == "form":
            self.forms.append(PageForm(values.get("action", "")))
        if tag in ("input", "textarea") and self.forms and "name" in values:
            self.forms[-1].fields[values["name"]] = values.get("value", "")
        if tag in ASSET_TAGS and values.get(ASSET_TAGS[tag]) and values.get("rel", "") != "canonical":
            self.assets.append(values[ASSET_TAGS[tag]])

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self._text.append(data)
        elif self._inside[-1] == "title":
            self.title += data

    def form_with(self, name: str) -> PageForm:
        """The form that has a field of that name. Raises LookupError when the page has none."""
        for form in self.forms:
            if name in form.fields:
                return form
        raise LookupError(f"the page {self.title!r} has no form with a field {name}")

    def form_to(self, path: str) -> PageForm:
        """The form that is sent to that path. Raises LookupError when the page has none."""
        for form in self.forms:
            if form.action.endswith(path):
                return form
        raise LookupError(f"the page {self.title!r} has no form to {path}")


class Browser:
    """One person's browser: one connection, one cookie jar, a record of every request."""

    def __init__(self) -> None:
        self.client = httpx.Client(http2=True, verify=_trusting(), timeout=SECONDS)
        self.requests: list[dict[str, Any]] = []
        self.url = ""
        self.cookies: list[str] = []
        self._loaded: set[str] = set()

    def open(self, url: str) -> Page:
        """Show a page: load it, follow redirects, load what it refers to and is not loaded yet."""
        response = self._request("GET", url)
        while response.status_code in REDIRECTS:
            response = self._request("GET", urljoin(self.url, response.headers["location"]))
        page = Page(response.text)
        for asset in dict.fromkeys(urljoin(self.url, asset) for asset in page.assets):
            if asset not in self._loaded:
                self._loaded.add(asset)
                self._request("GET", asset, page=False)
        return page

    def submit(self, form: PageForm, **filled: str) -> Page:
        """Fill a form in and send it, then show where the site sends us."""
        response = self._request("POST", urljoin(self.url, form.action), data={**form.fields, **filled})
        if response.status_code not in REDIRECTS:
            return Page(response.text)
        return self.open(urljoin(self.url, response.headers["location"]))

    def _request(self, method: str, url: str, *, page: bool = True, **content: Any) -> httpx.Response:
        headers = {"Referer": self.url} if self.url else {}
        began, clock = time.time(), time.perf_counter()
        response = self.client.request(method, url, headers=headers, **content)
        elapsed = time.perf_counter() - clock
        self.requests.append(
            {
                "method": method,
                "url": url,
                "page": page,
                "time": began,
                "ms": round(elapsed * 1000, 3),
                "status": response.status_code,
                "server": response.headers.get("x-served-by"),
                "request_id": response.headers.get("x-request-id"),
                "bytes": len(response.content),
                "sha256": hashlib.sha256(response.content).hexdigest(),
                "http": response.http_version,
                **_connection(response),
            }
        )
        self.cookies += [value for value in response.cookies.values() if value not in self.cookies]
        if page:
            self.url = url
        return response


def _connection(response: httpx.Response) -> dict[str, Any]:
    """The TCP and TLS connection that a response came over."""
    stream = response.extensions["network_stream"]
    local, remote = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
    tls = stream.get_extra_info("ssl_object")
    ends = {"from": _end(local), "to": _end(remote)}
    if tls is None:
        return {**ends, "tls": None}
    certificate = tls.getpeercert()
    names = {part[0][0]: part[0][1] for part in certificate["subject"]}
    issuers = {part[0][0]: part[0][1] for part in certificate["issuer"]}
    return {
        **ends,
        "tls": {
            "version": tls.version(),
            "cipher": tls.cipher()[0],
            "subject": names.get("commonName"),
            "issuer": issuers.get("commonName"),
        },
    }


def _end(address: Any) -> str:
    return f"{address[0]}:{address[1]}"


def _trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=TRUST)


def visit(url: str, name: str, password: str, messages: Sequence[str], asks: str = "") -> dict[str, Any]:
    """Home page, sign-up, log-in, post the messages, read them back."""
    browser = Browser()
    browser.open(url)
    if asks:
        browser.open(urljoin(url, f"/login?{urlencode({'name': asks})}"))
    signup = browser.open(urljoin(url, "/signup"))
    login = browser.submit(signup.form_with("password"), name=name, password=password)
    board = browser.submit(login.form_with("password"), name=name, password=password)
    for message in messages:
        board = browser.submit(board.form_with("message"), message=message)
    return {
        "requests": browser.requests,
        "cookies": browser.cookies,
        "shown": {
            "title": " ".join(board.title.split()),
            "has_message": all(message in board.text for message in messages),
            "has_name": name in board.text,
        },
    }


def main(words: Sequence[str]) -> int:
    """Print the record; a visit that cannot be finished says why and exits 3."""
    parser = argparse.ArgumentParser(prog="python -m experiments.instruments.visit")
    parser.add_argument("--asks", default="", metavar="TEXT")
    for argument in ("url", "name", "password"):
        parser.add_argument(argument)
    parser.add_argument("messages", nargs="+")
    try:
        print(json.dumps(visit(**vars(parser.parse_args(words)))))
    except (httpx.HTTPError, LookupError) as error:
        print(f"the visit failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
