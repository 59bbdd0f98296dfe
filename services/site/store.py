"""The one seam between the site and its database, and the values that cross it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Caller:
    """The request that a statement runs for.

    `request` is the request's id, for the SQL comment. `gtid` is the position of the session's last
    write: a read must not show an older state, or people would miss what they themselves just did.
    `session` names the session of a visitor who is logged in.
    """

    request: str = "-"
    gtid: str = ""
    session: str = ""


@dataclass(frozen=True)
class User:
    """A person who signed up."""

    id: int
    name: str
    password_hash: str


@dataclass(frozen=True)
class Message:
    """One message on the board; `server` took it, `created` is in UTC."""

    id: int
    author_id: int
    author: str
    text: str
    server: str
    created: datetime


@dataclass(frozen=True)
class Written:
    """A committed write: its row, the position that includes it, and whether it had happened before."""

    id: int
    gtid: str = ""
    replayed: bool = False


class Store(Protocol):
    """The questions that the site asks of a database. Every method may raise `StoreUnavailable`."""

    def add_user(self, caller: Caller, name: str, password_hash: str) -> Written:
        """Make an account; raises `NameTaken`. Names differ by more than upper and lower case."""

    def find_user(self, caller: Caller, name: str) -> User | None:
        """The account of that name, if there is one."""

    def add_message(self, caller: Caller, author_id: int, text: str, server: str, key: str) -> Written:
        """Post a message once for each (author, key), however often it is asked.

        Raises `KeyReused` when the key stands for another text, `UnknownUser` for no such author, and
        `SessionEnded` when the caller's session has been ended, on whichever server.
        """

    def messages(self, caller: Caller, before: int | None, limit: int) -> list[Message]:
        """The newest messages first, only those with an id below `before`."""

    def end_session(self, caller: Caller) -> Written:
        """Let the caller's session count no longer, wherever its cookie is."""

    def has_ended(self, caller: Caller) -> bool:
        """True if the caller's session has been ended, as far as the local server knows."""

    def count_guess(self, caller: Caller, user_id: int) -> int:
        """One more guess at a user's password; returns how many of the last minutes were wrong, this one included."""

    def forget_guesses(self, caller: Caller, user_id: int) -> None:
        """The last guess was right."""

    def ping(self, caller: Caller) -> None:
        """Ask the local database for a sign of life."""
