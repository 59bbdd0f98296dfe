"""Requests to the site, most malformed somewhere: made from a random source, so that hypothesis can shrink them.

The same for the WSGI application, for the application server and for the whole site.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlencode

SITE = "www.foobar.com"
METHODS = ("GET",) * 6 + ("POST",) * 12 + ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X-Y")
PATHS = ("/", "/messages", "/login", "/signup", "/logout", "/healthz", "/favicon.ico", "/robots.txt", "/nowhere")
FILES = ("/static/style.css", "/static/", "/static", "/static/../app.py", "/static/%2e%2e/app.py", "/static/%00", "//")
QUERIES = (
    "",
    "",
    "before=1",
    "before=-1",
    "before=9999999999999999999",
    "before=%C2%B2",
    "name=%ff%fe",
    "name=a&name=b",
)
ODD = (
    "%",
    "%zz",
    "%00",
    "%ed%a0%80",
    "=&;=",
    "&" * 50,
    "a=%",
    "\udc00",
    "\x00",
    "é",
    "\N{PARTY POPPER}",
    "x" * 300,
    "",
)
URLS = (
    "https://[",
    "https://[::1",
    f"https://{SITE}:99999/",
    f"https://{SITE}:x/",
    "//",
    "https://\u2100/",
    "http:///[]",
)
HOSTS = ("[", "[::1]:x", "evil", f"{SITE}:99999", f"{SITE},evil", "a b", "/", "@", "xn--a", "-" * 300, "..")
ACCEPT = (
    "application/json",
    "*/*;q=x",
    ";;",
    ",",
    "text/html;q=1e400",
    "a/b/c",
    "text/html;level",
    '"',
    "application/*",
)
TYPES = (
    "application/json",
    "application/json; charset=none",
    "application/problem+json",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-16",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=b; boundary=c",
    'multipart/form-data; boundary="',
    "multipart/form-data; boundary=" + "b" * 300,
    "text/plain",
    ";",
)
DATES = ("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 99999 99:00:00 GMT", "0", "Thu, 01 Jan 0000 00:00:00 GMT")
RANGES = ("bytes=0-", "bytes=5-1", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "bytes=-99999999999999999999", "lines=1-2")
TAGS = ('"x"', 'W/"', "*", '"\\', ",,,", '"')
OTHERS = (
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Request-ID",
    "X-Request-Began",
    "Authorization",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    7,
    -1e308,
    "x",
    "",
    "\ud800",
    "\x00",
    [],
    {},
    [[]],
    "y" * 600,
    10**400,
    float("nan"),
)
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'


@dataclass(frozen=True)
class LoggedIn:
    """What a visitor who is logged in sends along, so that a request gets further than to the guards."""

    cookie: str = ""
    token: str = ""


@dataclass(frozen=True)
class MalformedRequest:
    """A request; header values as they are on the wire, one character a byte."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def raw(self) -> bytes:
        """Its bytes on an HTTP/1.1 connection that ends with the answer."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        length = (
            () if any(name == "Content-Length" for name, _ in self.headers) else (f"Content-Length: {len(self.body)}",)
        )
        head = "\r\n".join((*lines, *length, "Connection: close", "", ""))
        return head.encode("latin-1") + self.body

    def environ(self) -> dict[str, Any]:
        """It as a WSGI server hands it to an application."""
        path, _, query = self.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(self.body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers:
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ


def malformed(draw: random.Random, visitor: LoggedIn) -> MalformedRequest:
    """A request with one to four things wrong with it, the rest as an honest visitor has it."""
    method, path = draw.choice(METHODS), draw.choice(PATHS * 3 + FILES)
    query = draw.choice(QUERIES)
    kind, body = draw.choice(BODIES)(draw, visitor)
    headers = {
        "Host": SITE,
        "Cookie": visitor.cookie,
        "Referer": f"https://{SITE}{path}",
        "X-CSRFToken": visitor.token,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": SITE,
        "Content-Type": kind,
    }
    for _ in range(draw.randrange(4)):
        name, values = draw.choice(HEADERS)
        headers[name] = draw.choice(values)
    for _ in range(draw.randrange(3)):
        name = draw.choice(tuple(headers))
        headers[name] = spoiled(draw, headers[name])
    if draw.random() < 0.2:
        body = spoiled(draw, body.decode("latin-1")).encode("utf-8", "surrogatepass")
    if draw.random() < 0.1:
        path += quote_from_bytes(draw.choice(ODD).encode("utf-8", "surrogatepass"), "/%")
    if draw.random() < 0.2:
        query = printable(spoiled(draw, query))
    sent = tuple((name, wire(value)) for name, value in headers.items() if value)
    return MalformedRequest(method, f"{path}?{query}" if query else path, sent, body[:20_000])


def spoiled(draw: random.Random, text: str) -> str:
    """A text with something put into it, cut off it or said twice."""
    at = draw.randrange(len(text) + 1)
    return draw.choice(
        (text[:at] + draw.choice(ODD) + text[at:], text[:at], text[at:], text * 2, chr(draw.randrange(256)))
    )


def wire(text: str) -> str:
    """A header's value as bytes that can be sent: in UTF-8, no line ends, no NUL."""
    raw = text.encode("utf-8", "surrogatepass").decode("latin-1")
    return raw.translate({0: "?", 10: " ", 13: " "}).strip()


def printable(text: str) -> str:
    return "".join(letter for letter in wire(text) if 33 <= ord(letter) < 127)


def form(draw: random.Random, visitor: LoggedIn) -> tuple[str, bytes]:
    names = ("message", "name", "password", "idempotency_key", "csrf_token")
    fields = {name: draw.choice(("alice", "correct horse", *ODD)) for name in draw.sample(names, draw.randrange(5))}
    fields["csrf_token"] = draw.choice((visitor.token, visitor.token, fields.get("csrf_token", "")))
    text = urlencode({name: value.encode("utf-8", "surrogatepass") for name, value in fields.items()})
    return "application/x-www-form-urlencoded", text.encode()


def json_value(draw: random.Random, visitor: LoggedIn) -> tuple[str, bytes]:
    value: Any = {"message": draw.choice(VALUES), "idempotency_key": draw.choice(VALUES)}
    text = json.dumps(draw.choice((value, value, draw.choice(VALUES))))
    return "application/json", draw.choice(
        (text, text, text[:-1], "[" * 9000, '{"message":' * 1500, "9" * 5000)
    ).encode()


def multipart(draw: random.Random, visitor: LoggedIn) -> tuple[str, bytes]:
    parts = b"".join(
        PART
        % (draw.choice((b"message", b"name", b"password", b"\xff", b'"')), draw.choice((b"", b'; filename="x"')), b"x")
        for _ in range(draw.choice((0, 1, 3, 200)))
    )
    token = PART % (b"csrf_token", b"", visitor.token.encode())
    whole = token + parts + draw.choice((b"--b--\r\n", b"--b", b"", b"\r\n--b\r\n\r\n\r\n", b"--b\r\nX\r\n\r\n"))
    return "multipart/form-data; boundary=b", whole


def nothing(draw: random.Random, visitor: LoggedIn) -> tuple[str, bytes]:
    return "", b""


Body = Callable[[random.Random, LoggedIn], tuple[str, bytes]]
BODIES: tuple[Body, ...] = (
    form,
    form,
    json_value,
    multipart,
    nothing,
)
HEADERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Referer", URLS),
    ("Host", HOSTS),
    ("X-Forwarded-Host", HOSTS),
    ("Origin", URLS),
    ("Accept", ACCEPT),
    ("Content-Type", TYPES),
    ("Idempotency-Key", ("k", "x" * 65, *ODD)),
    ("X-CSRFToken", ODD),
    ("Cookie", ("__Host-session=", "__Host-session=a.b.c", "=", ";;", "a=" + "x" * 5000, '"', "__Host-session=é")),
    ("If-Modified-Since", DATES),
    ("If-None-Match", TAGS),
    ("If-Range", (*TAGS, *DATES)),
    ("Range", RANGES),
    ("Content-Length", ("-1", "x", "99999999999999999999", "1, 2", "")),
    ("Content-Encoding", ("gzip", "x")),
    ("Transfer-Encoding", ("chunked", "x", "gzip, chunked")),
    ("Expect", ("100-continue", "x")),
    ("Accept-Language", (",", ";q=", "x" * 3000)),
    *((name, (*ODD, *HOSTS)) for name in OTHERS),
)
