"""Honest people's texts, made here by chance: what is written on a board, and names, passwords, cookies, headers. Pure.

Each corpus is a stream of requests, with the kind of each, so that one sees which kind is refused if one is.
"""

from __future__ import annotations

import base64
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from experiments.instruments.load import Session
from experiments.waf import phrases
from experiments.waf.webrequest import WebRequest, form, page, program
from topo.plan import SITE

FREE = "free text"
#: the site takes no longer text; some people try
LONGEST = 500


@dataclass(frozen=True)
class HonestRequest:
    """``kind``: what of its corpus it is; ``text``: what a person would say that it was."""

    corpus: str
    kind: str
    text: str
    request: WebRequest


def corpora(random: Random, texts: int, session: Session | None = None) -> Iterator[HonestRequest]:
    """``texts`` messages, and a fifth as many of each of the others. Without a session each request has its own."""
    for number in range(texts):
        yield _message(random, number, session or _session(random))
    for make in (_name, _password, _cookies, _headers, _address):
        for number in range(max(1, texts // 5)):
            yield make(random, number, session or _session(random))


def _session(random: Random) -> Session:
    """A cookie and a token as the site signs them: three parts in base64, of which the first may be compressed."""
    first = ("." if random.random() < 0.5 else "") + token(random, random.randint(60, 400))
    parts = [".".join((first, token(random, 6), token(random, 27))), token(random, 60)]
    return Session(f"__Host-session={parts[0]}", ".".join((parts[1], token(random, 6), token(random, 27))))


def token(random: Random, length: int) -> str:
    """Random bytes in base64, as signatures and keys are."""
    return base64.urlsafe_b64encode(random.randbytes(length)).decode()[:length]


def _message(random: Random, number: int, session: Session) -> HonestRequest:
    kinds = phrases.KINDS
    kind = random.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
    text = kinds[kind][1](random)
    key = str(uuid.UUID(int=random.getrandbits(128), version=4))
    if number % 3:
        return HonestRequest(FREE, kind, text, form("/messages", {"idempotency_key": key, "message": text}, session))
    return HonestRequest(FREE, kind, text, program({"message": text}, session, Idempotency_Key=key))


def _name(random: Random, number: int, session: Session) -> HonestRequest:
    """As people type it, though the site takes letters, digits, - and _ only, and tells them so."""
    text = phrases.name(random)
    fields = {"name": text, "password": password(random)}
    return HonestRequest("names", "typed", text, form("/signup" if number % 2 else "/login", fields, session))


def _password(random: Random, number: int, session: Session) -> HonestRequest:
    text = password(random)
    fields = {"name": f"anna-{number}", "password": text}
    return HonestRequest("passwords", "typed", text, form("/login", fields, session))


def password(random: Random) -> str:
    """Strong, odd, or both: somebody's password is an injection."""
    makes: tuple[Callable[[], str], ...] = (
        lambda: "".join(random.choices(string.printable[:94], k=random.randint(8, 40))),
        lambda: " ".join(random.choices(phrases.words(random), k=4)),
        lambda: phrases.quoted(random),
        lambda: phrases.sql(random)[:100],
        lambda: random.choice(("' OR 1=1 --", "<script>1</script>", "../../etc/passwd", "$(reboot)", "pass\tword\\n")),
        lambda: phrases.emoji(random) * 3,
    )
    return random.choice(makes)()


def _cookies(random: Random, number: int, session: Session) -> HonestRequest:
    others = (
        f"_ga=GA1.2.{random.getrandbits(31)}.{random.getrandbits(31)}",
        f"lang={random.choice(('de-DE', 'en', 'pt_BR', 'zh-Hant-TW'))}",
        f"theme={random.choice(('dark', 'light'))}",
        f"id={uuid.UUID(int=random.getrandbits(128), version=4)}",
        f"seen={random.getrandbits(40):x}",
        f"jwt={token(random, 36)}.{token(random, 80)}.{token(random, 43)}",
        f"b64={base64.b64encode(random.randbytes(16)).decode().replace('/', '_').replace('+', '-')}",
    )
    cookie = "; ".join((session.cookie, *random.sample(others, random.randint(0, 3))))
    kind, target = (("a page", "/"), ("older messages", f"/messages?before={random.getrandbits(40)}"))[number % 2]
    return HonestRequest("cookies and tokens", kind, cookie, page(target, Cookie=cookie))


def _headers(random: Random, number: int, session: Session) -> HonestRequest:  # noqa: ARG001
    """A browser's, a program's or a search engine's headers, on a page that any of them asks for."""
    agent, headers = phrases.agent(random), phrases.headers(random)
    asked = page(random.choice(("/", "/messages", "/login", "/robots.txt")), None, User_Agent=agent, **headers)
    return HonestRequest("headers", "sent by programs", " | ".join((agent, *headers.values())), asked)


def _address(random: Random, number: int, session: Session) -> HonestRequest:
    """The address that a page is asked for by, and the one that its visitor came from."""
    name, before = quote(phrases.name(random)), random.randrange(10 ** random.randint(1, 15))
    own = random.choice(("/", "/login", "/signup", f"/login?name={name}", f"/messages?before={before}"))
    refers = f"https://{SITE}{own}" if number % 2 else phrases.referrer(random)
    return HonestRequest("addresses", "own" if number % 2 else "elsewhere", refers, page(own, session, Referer=refers))
