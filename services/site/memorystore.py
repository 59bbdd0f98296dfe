"""A store in memory: the site's tests and a quick look at its pages need no database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

from services.site.exceptions import KeyReused, NameTaken, SessionEnded, StoreUnavailable, UnknownUser
from services.site.store import Caller, Message, User, Written


@dataclass
class MemoryStore:
    """Behaves like `MariaDBStore`; `down` makes it fail, `calls` has every (method, caller) in order."""

    down: bool = False
    calls: list[tuple[str, Caller]] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    posted: list[Message] = field(default_factory=list)
    keys: dict[tuple[int, str], Message] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    guesses: dict[int, int] = field(default_factory=dict)
    writes: int = 0

    def add_user(self, caller: Caller, name: str, password_hash: str) -> Written:
        self._called("add_user", caller)
        if any(user.name.lower() == name.lower() for user in self.users):
            raise NameTaken(name)
        self.users.append(User(len(self.users) + 1, name, password_hash))
        return Written(len(self.users), self._commit())

    def find_user(self, caller: Caller, name: str) -> User | None:
        self._called("find_user", caller)
        return next((user for user in self.users if user.name.lower() == name.lower()), None)

    def add_message(self, caller: Caller, author_id: int, text: str, server: str, key: str) -> Written:
        self._called("add_message", caller)
        if caller.session in self.ended:
            raise SessionEnded(caller.session)
        if known := self.keys.get((author_id, key)):
            if known.text != text:
                raise KeyReused(key)
            return Written(known.id, self._position(), replayed=True)
        author = next((user for user in self.users if user.id == author_id), None)
        if author is None:
            raise UnknownUser(author_id)
        now = datetime.now(timezone.utc)
        message = Message(len(self.posted) + 1, author.id, author.name, text, server, now)
        self.posted.append(message)
        self.keys[author_id, key] = message
        return Written(message.id, self._commit())

    def messages(self, caller: Caller, before: int | None, limit: int) -> list[Message]:
        self._called("messages", caller)
        older = [message for message in self.posted if before is None or message.id < before]
        return older[::-1][:limit]

    def end_session(self, caller: Caller) -> Written:
        self._called("end_session", caller)
        self.ended.add(caller.session)
        return Written(0, self._commit())

    def has_ended(self, caller: Caller) -> bool:
        self._called("has_ended", caller)
        return caller.session in self.ended

    def count_guess(self, caller: Caller, user_id: int) -> int:
        self._called("count_guess", caller)
        self.guesses[user_id] = self.guesses.get(user_id, 0) + 1
        return self.guesses[user_id]

    def forget_guesses(self, caller: Caller, user_id: int) -> None:
        self._called("forget_guesses", caller)
        self.guesses.pop(user_id, None)

    def ping(self, caller: Caller) -> None:
        self._called("ping", caller)

    def _called(self, method: str, caller: Caller) -> None:
        self.calls.append((method, caller))
        if self.down:
            raise StoreUnavailable("the memory store was told to be down")

    def _commit(self) -> str:
        self.writes += 1
        return self._position()

    def _position(self) -> str:
        return f"0-1-{self.writes}"
