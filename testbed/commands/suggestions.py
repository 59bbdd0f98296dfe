"""Suggestions for the next word of a command line, from the parser that will read it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence

from testbed import state
from topo import profile

#: the arguments so far -> what the next one may be
Candidates = Callable[[Sequence[str]], Iterable[str]]


def suggestions(parser: argparse.ArgumentParser, words: Sequence[str], candidates: Candidates) -> list[str]:
    """The words that may come next, after words that this parser reads: flags, a flag's values, verbs or arguments.

    Flags come last: a dash is enough to ask for them.
    """
    arguments: list[str] = []
    flag: argparse.Action | None = None
    for word in words:
        if flag is not None:
            flag = None
        elif word.startswith("-"):
            taken = parser._option_string_actions.get(word)
            flag = taken if taken is not None and taken.nargs is None else None
        elif (verbs := verbs_of(parser)) and word in verbs:
            parser = verbs[word]
        else:
            arguments.append(word)
    if flag is not None:
        return list(_values(flag))
    flags = [option for option in parser._option_string_actions if option.startswith("--")]
    return [*verbs_of(parser), *_choices(parser, len(arguments)), *candidates(arguments), *flags]


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A parser's sub-parsers, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _choices(parser: argparse.ArgumentParser, position: int) -> Iterable[str]:
    if verbs_of(parser) or position >= len(parser._get_positional_actions()):
        return ()
    return parser._get_positional_actions()[position].choices or ()


def _values(flag: argparse.Action) -> Iterable[str]:
    """The values that a flag takes: an axis its own, a testbed's name one that runs."""
    if flag.dest in profile.SEED.as_dict():
        field = profile.Profile.__dataclass_fields__[flag.dest]
        return [str(value) for value in field.metadata["values"] if value not in field.metadata["later"]]
    if flag.dest == "profile":
        return profile.NAMED
    return [entry.name for entry in state.running()] if flag.dest == "name" else ()
