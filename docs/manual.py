"""The manual page ``docs/foobar.1``, made from the commands and their parsers: ``man docs/foobar.1``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from testbed import cli
from testbed.commands import commandlist
from testbed.commands.suggestions import verbs_of
from topo.profile import Profile

TITLE = '.TH FOOBAR 1 "" "foobar testbed" "User commands"'
ABOUT = (
    "Boots the secured and monitored three-server web infrastructure of www.foobar.com, with its real daemons and real"
    " packets, inside namespaces of its own, and breaks, measures and proves things on it."
)
CODES = (
    ("0", "the claim holds; done"),
    ("1", "the claim fails"),
    ("2", "unknown, or refused: the testbed is not in the state that it needs"),
    ("3", "the testbed itself broke"),
    ("64", "bad usage"),
    ("130", "interrupted"),
    ("141", "nothing read the output any more"),
)
ENVIRONMENT = (
    ("FOOBAR_STATE", "where running testbeds are known by: /run/foobar for root, else below XDG_RUNTIME_DIR"),
)
ALSO = "README.md, docs/policy.md, docs/failover.md, docs/recipes.md"


def manual() -> str:
    """The page, in man's macros."""
    parsers = verbs_of(commandlist.parser(at_prompt=False))
    lines = [TITLE, ".SH NAME", r"foobar \- a three-server web infrastructure in a box, to be broken and measured"]
    lines += [".SH SYNOPSIS", ".B foobar", "[OPTION...]", ".br", ".B foobar", ".I COMMAND", "[OPTION...]"]
    lines += [".SH DESCRIPTION", _escaped(ABOUT), ".PP"]
    lines += ["Without a command it boots and opens Mininet's command line, where the same commands can be typed;"]
    lines += ["without a terminal it makes one visit to the site, shows it and leaves."]
    lines += [".SH OPTIONS", *_arguments(cli.boot_parser())]
    lines += [".SH COMMANDS"]
    for name, command in commandlist.available(at_prompt=False).items():
        lines += [f".SS {_escaped(f'{name} {command.words}'.strip())}", _escaped(parsers[name].description)]
        for verb, parser in verbs_of(parsers[name]).items():
            lines += [".TP", f".B {name} {verb}", _escaped(parser.description)]
            lines += [".RS", *_arguments(parser), ".RE"]
        lines += _arguments(parsers[name])
    lines += [".SH AT THE PROMPT"]
    for name, command in commandlist.available(at_prompt=True).items():
        if not command.outside:
            lines += [f".SS {name}", _escaped(command.about)]
    lines += [".SH EXIT STATUS", *_terms(CODES), ".SH ENVIRONMENT", *_terms(ENVIRONMENT), ".SH SEE ALSO", ALSO]
    return "\n".join(lines) + "\n"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A parser's arguments, then its flags; those of the profile are told of once, at the top."""
    profile = {"profile", *Profile.__dataclass_fields__}
    told_of = parser.prog != "foobar" and any(action.dest in profile for action in parser._actions)
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        if not (told_of and action.dest in profile):
            yield from (".TP", f".B {_escaped(_heading(action))}", _escaped((action.help or "").replace("%%", "%")))
    if told_of:
        yield from (".PP", "And the options of a profile, as above.")


def _heading(action: argparse.Action) -> str:
    value = str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return value
    return f"{', '.join(action.option_strings)}{'' if action.nargs == 0 else f' {value}'}"


def _terms(rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, text in rows:
        yield from (".TP", f".B {_escaped(term)}", _escaped(text))


def _escaped(text: str | None) -> str:
    """Text that man's macros show as it is: dashes stay dashes, and no line begins with a dot."""
    return re.sub(r"^([.'])", r"\\&\1", re.sub(r"-", r"\\-", (text or "").replace("\\", r"\e")))
