"""The commands about policies: what is in force, what another one would change, and changing it while all runs.

verify [--name N] [--json]                    do the switches do what the policy says? (a running testbed)
verify --policy FILE [--name N | profile]     what would this one open and close? Nothing is changed
policy show [--file]                          the rules in order; --file: as a file to edit
policy check FILE                             is it well-formed, and is every rule of use?
policy apply FILE                             put it in force on a running testbed
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from controllers import policyfile
from controllers.compile import compile_flows
from controllers.policy import Rule, policy
from controllers.policyfile import parse
from controllers.verify.advice import advice, unused
from controllers.verify.change import changes
from controllers.verify.explain import differences
from controllers.verify.proof import Proof
from testbed import control, state
from testbed.commandline import Parser
from topo import profile
from topo.errors import EXIT_FAILS, EXIT_HOLDS, FoobarError, UsageError, among
from topo.plan import Plan, plan

PRESENT = "the profile's policy"


def verify(words: list[str]) -> int:
    """0: proved, or nothing would be opened; 1: the flows do otherwise, or something would be opened."""
    parser = _parser("verify", "Prove that the switches let through what the policy allows, and nothing else.")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="what would this policy open and close instead?")
    parser.add_argument("--json", action="store_true", help="as JSON")
    profile.add_flags(parser)
    options = parser.parse_args(words)
    if options.policy is None:
        return _proved(control.ask(state.up(options.name), "verify"), as_json=options.json)
    return _compared(options)


def _proved(found: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print(*verdict(found), sep="\n")
    return EXIT_HOLDS if found["holds"] else EXIT_FAILS


def verdict(found: dict[str, Any]) -> list[str]:
    """A proof's findings (Adoption.verify) in lines."""
    fenced = [f"note: fenced: the databases of {', '.join(found['fences'])}"] if found["fences"] else []
    said = "holds" if found["holds"] else "fails"
    how_much = f"{found['flows']} flows of {found['switches']} switches, {found['ms']:.0f} ms"
    return [*found["differences"], *fenced, f"{said}: {how_much}"]


def _compared(options: Namespace) -> int:
    place = Place(options)
    rules = place.read(options.policy)
    found = changes(place.rules, rules, place.plan)
    opened = [change.text(place.plan) for change in found if change.opened]
    closed = [change.text(place.plan) for change in found if not change.opened]
    said = advice(rules, place.plan)
    if options.json:
        print(json.dumps({"present": place.name, "opened": opened, "closed": closed, "advice": said}, indent=1))
    else:
        for line in (*opened, *closed, *(f"note: {each}" for each in said)):
            print(line)
        print(f"{len(opened)} opened, {len(closed)} closed, compared with {place.name}")
    return EXIT_FAILS if opened else EXIT_HOLDS


def manage(words: list[str]) -> int:
    """``policy show | check FILE | apply FILE``."""
    commands = {"show": _show, "check": _check, "apply": _apply}
    if not words or words[0] not in commands:
        if words and words[0] in ("-h", "--help"):
            print(__doc__)
            return EXIT_HOLDS
        raise UsageError(f"policy: say one of: {among(words[0] if words else '', commands)}")
    return commands[words[0]](words[1:])


def _show(words: list[str]) -> int:
    parser = _parser("policy show", "The rules in order, as a table or as a file.")
    parser.add_argument("--file", action="store_true", help="as a policy file")
    profile.add_flags(parser)
    options = parser.parse_args(words)
    place = Place(options)
    if options.file:
        print(policyfile.render(place.rules), end="")
    else:
        from testbed import render

        render.console.print(render.rules(place.rules, place.counters))
    return EXIT_HOLDS


def _check(words: list[str]) -> int:
    parser = _parser("policy check", "Read a policy file and say what is wrong with it, or said in vain.")
    parser.add_argument("policy", type=Path, metavar="FILE")
    profile.add_flags(parser)
    options = parser.parse_args(words)
    place = Place(options)
    rules = place.read(options.policy)
    in_force = unused(rules, place.counters) if rules == place.rules and place.counters else []
    for line in (*advice(rules, place.plan), *in_force):
        print(f"note: {line}")
    print(f"{options.policy}: {len(rules)} rules, with the denial at the end")
    return EXIT_HOLDS


def _apply(words: list[str]) -> int:
    parser = _parser(
        "policy apply", "Put a policy in force on a running testbed; established connections are judged anew."
    )
    parser.add_argument("policy", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(words)
    entry = state.up(options.name)
    text, where = _text(options.policy), plan(profile.Profile(**entry.profile))
    prove(parse(text, str(options.policy), where), where)  # all that is wrong with it is said before anything changes
    found = control.ask(entry, "apply", text=text, name=str(options.policy))
    print(*([json.dumps(found, indent=1)] if options.json else applied(found)), sep="\n")
    return EXIT_HOLDS


def applied(found: dict[str, Any]) -> list[str]:
    """What a policy's application has done (Adoption.apply) in lines."""
    known = found["connections"]
    return [
        *found["changes"],
        f"connections: {known['kept']} kept, {known['cut']} cut, {known['anew']} judged anew by another rule",
        f"in force on {found['switches']} switches, and proved, after {found['ms']:.0f} ms",
    ]


class Place:
    """What a policy is compared with: a running testbed's policy, or that of a profile where none runs.

    Flags of the profile, if any is given, mean the profile.
    """

    def __init__(self, options: Namespace) -> None:
        wanted = profile.from_flags(options)
        entry = None if _given(options) else _running(options.name)
        answer = control.ask(entry, "rules") if entry else None
        self.name = f"testbed {entry.name}" if entry else PRESENT
        self.plan: Plan = plan(profile.Profile(**entry.profile) if entry else wanted)
        self.rules: tuple[Rule, ...] = parse(answer["text"], self.name, self.plan) if answer else policy(wanted)
        self.counters: dict[str, dict[str, int]] = answer["counters"] if answer else {}

    def read(self, path: Path) -> tuple[Rule, ...]:
        """A file's rules, compiled and proved. Raises PolicyError with everything that is wrong with it."""
        rules = parse(_text(path), str(path), self.plan)
        prove(rules, self.plan)
        return rules


def prove(rules: tuple[Rule, ...], where: Plan) -> None:
    """The flows that these rules become do what they say. Raises FoobarError: then the compiler is wrong."""
    flows = compile_flows(where, rules)
    checked = Proof(where).check(flows, rules)
    if not checked.holds:
        detail = "\n".join(differences(where, flows, rules, checked))
        raise FoobarError("the compiled flows are not what the policy says", detail=detail)


def _given(options: Namespace) -> bool:
    axes = {name: value for name, value in vars(options).items() if name in profile.SEED.as_dict()}
    return options.profile != "seed" or any(value is not None for value in axes.values())


def _running(name: str | None) -> state.Entry | None:
    return state.up(name) if name or state.running() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None


def _parser(name: str, description: str) -> Parser:
    parser = Parser(prog=f"foobar {name}", description=description, allow_abbrev=False)
    parser.add_argument("--name", help="which testbed, when several are running")
    return parser
