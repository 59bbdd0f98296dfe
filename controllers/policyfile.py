"""Policies as text, one rule a line; docs/policy.md is for those who write them.

    group  pair = srv1, srv2
    allow  tcp   internet -> lb   port 80, 443           # site: visitors reach the site
    allow  icmp  mon -> any       type echo-request      # ping: who is alive?
    deny   any   attacker -> any                         # nothing else from there

The first match wins; what no rule allows is denied. A rule's name and reason stand in its comment.
"""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from controllers.policy import ACTIONS, DENY_REST, PROTOCOLS, Ports, Rule, shown_range
from controllers.verify.packetset import united
from topo.errors import PolicyError
from topo.plan import ANY, Plan

TOKEN = re.compile(r"->|[=,]|[^\s,=#]+?(?=->|[\s,=#]|$)")
NAMED = re.compile(r"\s*([\w.-]+):\s+(.*)")
WORD = re.compile(r"[a-z][\w-]*")
NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")
SERVICES = {"ssh": 22, "smtp": 25, "dns": 53, "http": 80, "ntp": 123, "https": 443, "mysql": 3306}
ICMP_TYPES = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "redirect": 5,
    "echo-request": 8,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "timestamp-request": 13,
    "timestamp-reply": 14,
    "address-mask-request": 17,
    "address-mask-reply": 18,
}
LIMITS = {"port": 65535, "type": 255}
MOST_MISTAKES, LONGEST_WORD = 100, 80
COLUMNS = (5, 4, 38)


@dataclass(frozen=True)
class Token:
    """A word of a line, and the column that it begins in (from 1)."""

    text: str
    column: int


class Mistake(Exception):
    """An error in a line, and its column."""

    def __init__(self, column: int, what: str) -> None:
        super().__init__(what)
        self.column = column


def parse(text: str, name: str, plan: Plan) -> tuple[Rule, ...]:
    """The rules of a file called ``name``, DENY_REST at their end. Raises PolicyError with all that is wrong: one line
    each, as name:line:column: what; of very many, the first."""
    reading = Reading(plan)
    mistakes: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        mistakes += [
            f"{name}:{number}:{mistake.column}: {mistake}"
            for mistake in sorted(reading.line(number, line), key=lambda mistake: mistake.column)
        ]
        if len(mistakes) >= MOST_MISTAKES:
            raise PolicyError(f"{name}: {MOST_MISTAKES} mistakes or more", detail="\n".join(mistakes[:MOST_MISTAKES]))
    if mistakes:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise PolicyError(f"{name}: {count}", detail="\n".join(mistakes))
    return (*reading.rules, DENY_REST)


class Reading:
    """A file being read: the rules so far, the groups it has made, and which line took which name."""

    def __init__(self, plan: Plan) -> None:
        self.rules: list[Rule] = []
        self._known = {name: name for name in plan.names}
        self._taken: dict[str, int] = {}

    def line(self, number: int, line: str) -> list[Mistake]:
        """Read one line and return its mistakes."""
        said, _, comment = line.partition("#")
        tokens = [Token(word[0], word.start() + 1) for word in TOKEN.finditer(said)]
        if not tokens:
            return []
        if long := next((token for token in tokens if len(token.text) > LONGEST_WORD), None):
            return [Mistake(long.column, f"a word of {len(long.text)} letters: the longest has {LONGEST_WORD}")]
        parts = Line(tokens, len(said.rstrip()) + 1, self._known)
        if tokens[0].text == "group":
            return self._group(parts)
        rule = parts.rule(*self._name(number, line, comment, parts.mistakes))
        if not parts.mistakes and rule != DENY_REST:
            self.rules.append(rule)
        return parts.mistakes

    def _group(self, parts: Line) -> list[Mistake]:
        name, members = parts.group()
        if not parts.mistakes:
            self._known[name] = ",".join(members)
        return parts.mistakes

    def _name(self, number: int, line: str, comment: str, mistakes: list[Mistake]) -> tuple[str, str]:
        named = NAMED.fullmatch(comment)
        name, why = named.groups() if named else (f"line-{number}", comment.strip() or "no reason is given")
        if name in self._taken:
            column = line.index(comment) + (named.start(1) if named else 0) + 1
            mistakes.append(Mistake(column, f"{name}: line {self._taken[name]} has this name already"))
        if name != DENY_REST.name:
            self._taken[name] = number
        return name, why.strip()


class Line:
    """One line's words, read from the left; mistakes are collected and reading goes on where that makes sense."""

    def __init__(self, tokens: Sequence[Token], end: int, known: dict[str, str]) -> None:
        self.mistakes: list[Mistake] = []
        self._tokens = deque(tokens)
        self._end = end
        self._known = known

    def rule(self, name: str, why: str) -> Rule:
        action = self._one_of(ACTIONS, "action")
        proto = self._one_of(PROTOCOLS, "protocol")
        src = self._side("the source")
        self._expect("->")
        dst = self._side("the destination")
        port = self._ports(proto)
        if self._tokens:
            self._wrong(f"{self._tokens[0].text}: nothing more was expected here")
        return Rule(name, src, dst, proto, port, action, why)

    def group(self) -> tuple[str, list[str]]:
        self._tokens.popleft()
        name = self._tokens[0].text if self._tokens else ""
        if not WORD.fullmatch(name) or name in self._known:
            taken = "is a name already" if name in self._known else "a group's name was expected here"
            self._wrong(f"{name}: {taken}" if name else taken)
        if self._tokens:
            self._tokens.popleft()
        self._expect("=")
        members = self._side("a host").split(",")
        if self._tokens:
            self._wrong(f"{self._tokens[0].text}: nothing more was expected here")
        return name, members

    def _one_of(self, words: Sequence[str], what: str) -> str:
        if not self._tokens or self._tokens[0].text == "->":
            self._wrong(f"the {what} is missing: {', '.join(words)}")
            return words[-1]
        token = self._tokens.popleft()
        if token.text not in words:
            self._wrong(_unknown(token.text, what, words), token)
            return words[-1]
        return token.text

    def _expect(self, word: str) -> None:
        if self._tokens and self._tokens[0].text == word:
            self._tokens.popleft()
        else:
            self._wrong(f"{word} was expected here")

    def _side(self, what: str) -> str:
        names: list[str] = []
        while True:
            if not self._tokens or self._tokens[0].text in ("->", "=", ",", *LIMITS):
                self._wrong(f"{what} is missing: a host, a zone, a group or {ANY}")
                break
            token = self._tokens.popleft()
            if token.text not in self._known:
                self._wrong(_unknown(token.text, "host, zone or group", self._known), token)
            names += self._known.get(token.text, token.text).split(",")
            if not self._tokens or self._tokens[0].text != ",":
                break
            self._tokens.popleft()
        return ",".join(dict.fromkeys(names)) or ANY

    def _ports(self, proto: str) -> int | Ports | None:
        if not self._tokens or self._tokens[0].text not in LIMITS:
            return None
        word = self._tokens.popleft()
        wanted = {"tcp": "port", "udp": "port", "icmp": "type"}.get(proto)
        if wanted != word.text:
            instead = f"{proto} has a {wanted}" if wanted else f"{proto} has none; say tcp, udp or icmp"
            self._wrong(f"{word.text}: {instead}", word)
        spans = list(self._spans(word.text))
        merged = united(spans) if spans else ((0, 0),)
        return merged[0][0] if len(merged) == 1 and merged[0][0] == merged[0][1] else merged

    def _spans(self, kind: str) -> Iterator[tuple[int, int]]:
        while True:
            if not self._tokens:
                self._wrong(f"the {kind} is missing")
                return
            token = self._tokens.popleft()
            try:
                yield _span(token.text, kind)
            except ValueError as error:
                self._wrong(str(error), token)
            if not self._tokens or self._tokens[0].text != ",":
                return
            self._tokens.popleft()

    def _wrong(self, what: str, token: Token | None = None) -> None:
        """Note a mistake; for a line that ends too soon, only one."""
        place = token or (self._tokens[0] if self._tokens else None)
        column = place.column if place else self._end
        if place or all(mistake.column != column for mistake in self.mistakes):
            self.mistakes.append(Mistake(column, what))


def _span(text: str, kind: str) -> tuple[int, int]:
    """A port or type, or a range of them. Raises ValueError with what is wrong."""
    names = SERVICES if kind == "port" else ICMP_TYPES
    if text in names:
        return names[text], names[text]
    numbers = NUMBERS.fullmatch(text)
    if not numbers:
        kinds = f"a number, a range like 8-18, {', '.join(names)}"
        close = difflib.get_close_matches(text, names, n=1)
        raise ValueError(f"{text}: no such {kind}; " + (f"did you mean {close[0]}?" if close else f"known: {kinds}"))
    low, high = int(numbers[1]), int(numbers[2] or numbers[1])
    if low > high:
        raise ValueError(f"{text}: the range ends before it begins")
    if high > LIMITS[kind]:
        raise ValueError(f"{text}: a {kind} is at most {LIMITS[kind]}")
    return low, high


def _unknown(word: str, what: str, possible: Iterable[str]) -> str:
    words = list(possible)
    close = difflib.get_close_matches(word, words, n=1)
    return f"{word}: no such {what}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(words)}")


# --- and back ------------------------------------------------------------------------------------------------------


def render(rules: Sequence[Rule]) -> str:
    """The text of a policy, which ``parse`` turns into equal rules."""
    lines = [_line(rule) for rule in rules if rule != DENY_REST]
    return "".join(f"{line}\n" for line in (*lines, f"# {DENY_REST.why}"))


def _line(rule: Rule) -> str:
    sides = f"{rule.src.replace(',', ', ')} -> {rule.dst.replace(',', ', ')}{_ported(rule)}"
    columns = (rule.action, rule.proto, sides)
    return (
        "  ".join(f"{text:{width}}" for text, width in zip(columns, COLUMNS, strict=True))
        + f"  # {rule.name}: {rule.why}"
    )


def _ported(rule: Rule) -> str:
    if rule.ports is None:
        return ""
    if rule.proto != "icmp":
        return " port " + ", ".join(shown_range(*span) for span in rule.ports)
    names = {number: name for name, number in ICMP_TYPES.items()}
    return " type " + ", ".join(
        names.get(low, str(low)) if low == high else f"{low}-{high}" for low, high in rule.ports
    )
