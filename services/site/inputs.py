"""Visitors' inputs: the limits, and friendly words for what is outside them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.site.routes import KEY, VALID_NAME

LARGEST_REQUEST = 16 * 1024  # bytes
NAME_LENGTH = range(3, 33)
PASSWORD_LENGTH = range(8, 129)
TEXT_LENGTH = range(1, 501)
DIFFERENT = 4
# so many guesses at a password in a row; then none for that many minutes
GUESSES, PAUSE_MINUTES = 10, 5


@dataclass(frozen=True)
class Credentials:
    """A name and a password, as typed."""

    name: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Credentials:
        return cls(form.get("name", "").strip(), form.get("password", ""))

    def problems(self) -> dict[str, str]:
        """The reasons why this cannot be a new account, by field; empty when it can."""
        problems = {"name": name_problem(self.name), "password": password_problem(self.password, self.name)}
        return {name: problem for name, problem in problems.items() if problem}


def name_problem(name: str) -> str:
    """The reason why this cannot be a user name, or ""."""
    if len(name) not in NAME_LENGTH:
        return f"A name has {NAME_LENGTH[0]} to {NAME_LENGTH[-1]} characters."
    if not re.fullmatch(VALID_NAME, name):
        return "A name is made of letters a-z, digits, - and _."
    return ""


def password_problem(password: str, name: str) -> str:
    """The reason why this cannot be the password of that name, or ""."""
    if len(password) not in PASSWORD_LENGTH:
        return f"A password has {PASSWORD_LENGTH[0]} to {PASSWORD_LENGTH[-1]} characters."
    own = password.casefold().replace(name.casefold() or " ", "")
    if len(set("".join(own.split()))) < DIFFERENT:
        return f"A password has at least {DIFFERENT} different characters beside the name and spaces."
    return ""


def message_text(raw: object) -> str:
    """The text of a message: lines end in a newline, the ends are trimmed. "" for anything else."""
    return raw.replace("\r\n", "\n").strip() if isinstance(raw, str) else ""


def text_problem(text: str) -> str:
    """The reason why this cannot be posted, or ""."""
    if not text:
        return "Write something first."
    if len(text) not in TEXT_LENGTH:
        return f"A message has at most {TEXT_LENGTH[-1]} characters; this one has {len(text)}."
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        return "The message holds half of a character (a lone surrogate)."
    return ""


def new_key() -> str:
    """An idempotency key for one rendering of a form."""
    return str(uuid.uuid4())


def is_key(key: str) -> bool:
    """True if this may be an idempotency key."""
    return bool(key) and re.fullmatch(KEY, key) is not None
