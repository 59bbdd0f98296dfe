"""The matrix: each text of each class in each input of the site, and what is not about texts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from experiments.instruments.load import Session
from experiments.waf import attacktexts, protocoltricks
from experiments.waf.attacktexts import COMMAND, PROBED, SCANNER, SCANNERS, SMUGGLING, SQL, TRAVERSAL, XSS
from experiments.waf.webrequest import BROWSER, WebRequest, form, page, program

#: people write anything there: its SQL and commands are mere text, its scripts are refused
MESSAGES = ("message", "message (JSON)")
#: anything is a password; nobody ever sees one again
PASSWORD = "password"
#: the inputs of which not every attack must be refused
OPEN = (*MESSAGES, PASSWORD)
ANSWERED = r"\AHTTP/1\.1 200[^\n]*\n(?=[\s\S]*content-security-policy)"


@dataclass(frozen=True)
class WebAttack:
    """``proof``: the pattern in an answer that shows that it had its way; ``slow``: that the answer takes long does.

    ``smuggled``: the path of a request within the request.
    """

    input: str
    kind: str
    text: str
    raw: bytes
    proof: str = ""
    slow: bool = False
    smuggled: str = ""


def attacks(random: Random, session: Session) -> list[WebAttack]:
    """All of them, shuffled, each with a number of its own."""
    every = [*_texts(session), *_tricks(session), *_scanners(session)]
    numbers = random.sample(range(1_000_000, 10_000_000), len(every))
    made = [make(number) for make, number in zip(every, numbers, strict=True)]
    random.shuffle(made)
    return made


Make = Callable[[int], WebAttack]


def _texts(session: Session) -> Iterator[Make]:
    for kind in (SQL, XSS, TRAVERSAL, COMMAND):
        for name, asked in inputs(session).items():
            texts = attacktexts.payloads(kind)
            for payload in texts if name in MESSAGES else texts[: attacktexts.FEW_SCRIPTS]:
                yield _made(name, kind, payload, asked)


def _made(name: str, kind: str, payload: attacktexts.Payload, asked: Callable[[str], WebRequest]) -> Make:
    def make(number: int) -> WebAttack:
        own = payload.numbered(number)
        proof = rf"{own.proof}|^location: /messages\b" if (kind, name) == (SQL, "name") else own.proof
        return WebAttack(name, kind, own.text, asked(own.text).raw, proof, own.slow)

    return make


def inputs(session: Session) -> Mapping[str, Callable[[str], WebRequest]]:
    """Every place into which a text can be put, by name; what a browser could not send in a header is encoded."""
    password = "Corr3ct-horse"
    return {
        "path": lambda text: page(f"/{_quoted(text, safe='/.:;()$|*')}", session),
        "name of an argument": lambda text: page(f"/messages?{_quoted(text)}=1", session),
        "unknown argument": lambda text: page(f"/?q={_quoted(text)}", session),
        "name in the address": lambda text: page(f"/login?name={_quoted(text)}", session),
        "before": lambda text: page(f"/messages?before={_quoted(text)}", session),
        "name": lambda text: form("/login", {"name": text, "password": password}, session),
        "new name": lambda text: form("/signup", {"name": text, "password": password}, session),
        PASSWORD: lambda text: form("/login", {"name": "mallory", "password": text}, session),
        "csrf_token": lambda text: form("/messages", {"csrf_token": text, "message": "hello"}, session),
        "idempotency_key": lambda text: form("/messages", {"idempotency_key": text, "message": "hello"}, session),
        MESSAGES[0]: lambda text: form("/messages", {"message": text}, session),
        MESSAGES[1]: lambda text: program({"message": text}, session),
        "key (JSON)": lambda text: program({"message": "hello", "idempotency_key": text}, session),
        "unknown input (JSON)": lambda text: program({"message": "hello", "admin": text}, session),
        "session cookie": lambda text: page("/messages", Cookie=f"__Host-session={_line(text)}"),
        "another cookie": lambda text: page("/messages", Cookie=f"{session.cookie}; lang={_line(text)}"),
        "User-Agent": lambda text: page("/", User_Agent=f"{BROWSER} {_line(text)}"),
        "Referer": lambda text: page("/", Referer=f"https://www.example.org/{_line(text)}"),
        "Accept-Language": lambda text: page("/", Accept_Language=_line(text)),
        "Idempotency-Key": lambda text: program({"message": "hello"}, session, Idempotency_Key=_line(text)),
        "another header": lambda text: page("/", X_Api_Version=_line(text)),
        "Host": lambda text: page("/", Host=_line(text)),
    }


def _quoted(text: str, safe: str = "") -> str:
    """A text that is encoded already stays as it is: somebody wants it to be decoded twice, or wrongly."""
    return text.replace(" ", "%20") if "%" in text else quote(text, safe=safe)


def _line(text: str) -> str:
    return text.replace("\n", "%0a").strip() or "-"


def _tricks(session: Session) -> Iterator[Make]:
    for trick in protocoltricks.tricks(session):
        yield lambda number, trick=trick: _numbered(trick, number)  # type: ignore[misc]


def _numbered(trick: protocoltricks.Trick, number: int) -> WebAttack:
    raw = trick.raw.replace(b"{n}", str(number).encode())
    path = f"/smuggled-{number}" if trick.kind == SMUGGLING else ""
    return WebAttack(trick.input, trick.kind, trick.name, raw, trick.proof, smuggled=path)


def _scanners(session: Session) -> Iterator[Make]:
    for agent in SCANNERS:
        raw = page("/", User_Agent=agent).raw
        yield lambda _, agent=agent, raw=raw: WebAttack("User-Agent", SCANNER, agent, raw, ANSWERED)  # type: ignore[misc]
    for path in PROBED:
        raw = page(path, session).raw
        proof = r"\AHTTP/1\.1 200"
        yield lambda _, path=path, raw=raw, proof=proof: WebAttack("path", SCANNER, path, raw, proof)  # type: ignore[misc]
