"""A request as it is sent, and as the firewall's library is given it; and the forms and pages that the site has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from topo.plan import SITE

if TYPE_CHECKING:
    from experiments.instruments.load import Session
    from services.waf.engine import JudgedRequest

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
#: added on the way, before nginx
BALANCERS = (("X-Request-ID", "experiment"), ("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https"))
HEADERS = {"Host": SITE, "User-Agent": BROWSER, "Accept": "text/html,application/json;q=0.9,*/*;q=0.8"}


@dataclass(frozen=True)
class WebRequest:
    """``target`` stands in the request line as it is; headers in their order."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def raw(self) -> bytes:
        """All of it in HTTP/1.1, for a connection that is closed after the answer."""
        sized = {"Content-Length": str(len(self.body))} if self.body or self.method == "POST" else {}
        headers = {**self.headers, **sized, "Connection": "close"}
        head = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join((*head, "", "")).encode("utf-8", "surrogateescape") + self.body

    @property
    def judged(self) -> JudgedRequest:
        """The same as it comes out of the balancer."""
        from services.waf.engine import JudgedRequest

        sized = (("Content-Length", str(len(self.body))),) if self.body or self.method == "POST" else ()
        return JudgedRequest(self.method, self.target, (*self.headers.items(), *sized, *BALANCERS), self.body)


def page(target: str, session: Session | None = None, **headers: str) -> WebRequest:
    """A page that is asked for; of a header's name here ``_`` is ``-``."""
    return WebRequest("GET", target, {**_headers(session), **_named(headers)})


def form(target: str, fields: Mapping[str, str], session: Session, **headers: str) -> WebRequest:
    """A form of the site's, filled in; it carries the session's token unless it has one of its own."""
    filled = {"csrf_token": session.token, **fields}
    kind = {"Content-Type": FORM, "Origin": f"https://{SITE}", "Referer": f"https://{SITE}{target}"}
    body = urlencode(filled, errors="surrogatepass").encode()
    return WebRequest("POST", target, {**_headers(session), **kind, **_named(headers)}, body)


def program(fields: Mapping[str, object], session: Session, **headers: str) -> WebRequest:
    """A message that a program posts as JSON."""
    kind = {"Content-Type": JSON, "Accept": JSON, "Referer": f"https://{SITE}/messages", "X-CSRFToken": session.token}
    body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return WebRequest("POST", "/messages", {**_headers(session), **kind, **_named(headers)}, body)


def _headers(session: Session | None) -> dict[str, str]:
    return {**HEADERS, **({"Cookie": session.cookie} if session else {})}


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
