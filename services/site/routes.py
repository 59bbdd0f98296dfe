"""The site's addresses and what each takes: the application, and the firewall in front of it, are made from this."""

from __future__ import annotations

from dataclasses import dataclass

READ, READ_AND_SEND, SEND = ("GET",), ("GET", "POST"), ("POST",)


@dataclass(frozen=True)
class Field:
    """An input: a part of the address, of a form, or of a JSON object.

    ``pattern``: what an honest visitor may send, as bytes in UTF-8; None for what may be anything.
    ``free``: it is shown to others as it is written.
    """

    name: str
    pattern: str | None
    free: bool = False


# what the site takes for a name, and what a person types for one and is told about in friendly words
VALID_NAME = r"[A-Za-z0-9_-]{0,256}"
KEY = r"[A-Za-z0-9_.:-]{0,64}"
_WORD = r"[A-Za-z0-9\x80-\xff]{1,256}"
NAME = Field("name", rf"(?:{VALID_NAME}|[ \t]*{_WORD}(?:(?:[.,]? |['._@+-]){_WORD}){{0,5}}\.?[ \t]*)")
PASSWORD = Field("password", None)
TOKEN = Field("csrf_token", r"[A-Za-z0-9_.-]{0,512}")
MESSAGE = Field("message", None, free=True)

COOKIE = Field("__Host-session", r"[A-Za-z0-9_.-]{0,4096}")


@dataclass(frozen=True)
class PageRoute:
    """One address: the method of ``Pages`` that answers it, ``query`` and ``form``: what it reads from where.

    ``as_json``: the form may also come as a JSON object.
    """

    path: str
    page: str
    methods: tuple[str, ...] = READ
    query: tuple[Field, ...] = ()
    form: tuple[Field, ...] = ()
    as_json: bool = False

    @property
    def fields(self) -> tuple[Field, ...]:
        """All that it takes."""
        return tuple(dict.fromkeys((*self.query, *self.form)))


ROUTES = (
    PageRoute("/", "home"),
    PageRoute("/signup", "signup", READ_AND_SEND, form=(NAME, PASSWORD, TOKEN)),
    PageRoute("/login", "login", READ_AND_SEND, query=(NAME,), form=(NAME, PASSWORD, TOKEN)),
    PageRoute("/logout", "logout", SEND, form=(TOKEN,)),
    PageRoute("/messages", "messages", query=(Field("before", r"[0-9]{0,18}"),)),
    PageRoute("/messages", "post", SEND, form=(MESSAGE, Field("idempotency_key", KEY), TOKEN), as_json=True),
    PageRoute("/healthz", "healthz"),
)
FILES = ("robots.txt", "favicon.ico")
# what browsers and search engines ask for by themselves, everywhere: they get the site's own 404
ASKED_ANYWAY = ("/sitemap.xml", "/apple-touch-icon.png", "/apple-touch-icon-precomposed.png")
