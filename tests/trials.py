"""Damaged run folders, policy files and command lines, given to the commands as a person would, in this process.

``PYTHONPATH=. python tests/trials.py folders|policies|words COUNT [SEED]``: each trial must end with a right exit code,
soon, with a line if it is an error, and write nothing but what it is asked to. The tier makes a few hundred.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from controllers.verify.proof import Proof
from topo.plan import Plan

DATA = Path(__file__).parent / "data"
SECONDS = 30
WORDS = (
    "",
    "x",
    "[/x]",
    "[bold]",
    "\x1b[2J\x9b",
    "<b onclick='x'>",
    "javascript:alert(1)",
    "\udcff",
    "\ud83d",
    "é" * 99,
    "1-9",
)
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7.5, 2**40, -(2**63), 10**400, 1e308, float("nan"), float("inf"), *WORDS,
    [], {}, [[]], [None], {"x": 1}, {"": None}, [1, "2", 3.0], "x" * 70_000, "1-99999999999", "9 " * 999,
    list(range(999)),
)  # fmt: skip
BYTES = (
    b"",
    b"\xff",
    b"\0",
    b"{",
    b"}",
    b"]" * 9,
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"NaN",
    b"1e999",
    b'"',
    b",",
    b"\\u",
    b"9" * 5000,
)


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended. ``wrong``: what must not be, in words; None when all is well."""

    code: int
    out: str
    err: str
    wrong: str | None


# --- damage --------------------------------------------------------------------------------------------------------


def damaged_value(value: Any, chance: random.Random) -> Any:
    """JSON data, in which one to four things are other than they were."""
    value = json.loads(json.dumps(value))  # a copy
    for _ in range(chance.randint(1, 4)):
        holder, key = _place(value, chance)
        if holder is None:
            value = _junk(JUNK, chance)
        elif isinstance(holder, dict):
            _damage_dict(holder, key, chance)
        else:
            _damage_list(holder, key, chance)
    return value


def _place(value: Any, chance: random.Random) -> tuple[Any, Any]:
    """Some place in the data: what holds it, and under which key; near the top as often as deep."""
    holder, key = None, None
    for _ in range(chance.randint(1, 6)):
        if not isinstance(value, (dict, list)) or not value:
            break
        holder = value
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        value = value[key]
    return holder, key


def _damage_dict(holder: dict[str, Any], key: str, chance: random.Random) -> None:
    how = chance.randrange(6)
    if how == 0:
        del holder[key]
    elif how == 1:
        holder[chance.choice(WORDS)] = holder.pop(key)
    else:
        holder[key] = _junk(JUNK, chance) if how == 2 else _alike(holder[key], chance)


def _damage_list(holder: list[Any], at: int, chance: random.Random) -> None:
    how = chance.randrange(6)
    if how == 0:
        del holder[at]
    elif how == 1:
        holder.insert(at, copy.deepcopy(chance.choice(holder)))
    elif how == 2:
        chance.shuffle(holder)
    else:
        holder[at] = _junk(JUNK, chance) if how == 3 else _alike(holder[at], chance)


def _alike(value: Any, chance: random.Random) -> Any:
    """Another value of the same type, which passes the door."""
    return _junk([junk for junk in JUNK if type(junk) is type(value)] or [value], chance)


def _junk(choices: Sequence[Any], chance: random.Random) -> Any:
    """One of them, as a copy: it may be damaged in its turn."""
    return copy.deepcopy(chance.choice(choices))


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    """The same of a file's bytes."""
    for _ in range(chance.randint(1, 3)):
        at, junk = chance.randint(0, len(content)), chance.choice(BYTES)
        content = chance.choice(
            (content[:at], content[:at] + junk + content[at + len(junk) :], content[:at] + junk + content[at:], junk)
        )
    return content


# --- one trial -----------------------------------------------------------------------------------------------------


def tried(main: Callable[[Sequence[str]], int], words: Sequence[str], codes: Sequence[int]) -> TrialOutcome:
    """Run a command in this process, with streams as a person's terminal has them."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict", write_through=True) for _ in "oe"]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]), in_time():
        try:
            code = main(list(words))
        except BaseException as error:
            code = -1
            streams[1].buffer.write(f"Traceback: {type(error).__name__}: {error!r}".encode(errors="replace"))
    out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return TrialOutcome(code, out, err, _wrong(code, out, err, codes))


def _wrong(code: int, out: str, err: str, codes: Sequence[int]) -> str | None:
    if "Traceback" in err:
        return "a traceback"
    if code not in codes:
        return f"exit code {code}"
    if code >= 64 and (out or not err.startswith("foobar: ")):
        return "no line that says why"
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in out + err):
        return "a control character on the terminal"
    return None


@contextmanager
def in_time() -> Iterator[None]:
    def late(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- run folders ---------------------------------------------------------------------------------------------------


@cache
def runs(largest: int = 10**9) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, result.json, evidence.json) of the kept runs whose evidence has at most so many letters."""
    if largest < 10**9:
        return [run for run in runs() if len(json.dumps(run[2])) <= largest]
    from experiments import catalog
    from experiments.engine.evidence import SchemaError

    made = []
    for path in sorted((DATA / "runs").glob("*/result.json")):
        result = json.loads(path.read_text())
        evidence = json.loads(gzip.decompress((path.parent / "evidence.json.gz").read_bytes()))
        kind = catalog.experiment(result["experiment"]).evidence
        try:
            kind.parse(evidence)
        except SchemaError:
            evidence = _of_today(evidence)
            kind.parse(evidence)
        made.append((path.parent.name, result, evidence))
    return made


def _of_today(evidence: dict[str, Any]) -> dict[str, Any]:
    """Old evidence that is refused today, with today's names: good enough to be damaged."""
    for pair in (*evidence.get("pairs", ()), *evidence.get("controls", ())):
        pair["wire"]["inconclusive"] = pair["wire"].pop("blind", [])
    if "odd" in evidence:
        rows = ({**row, "packet": row["odd"], "inconclusive": row.get("blind", [])} for row in evidence["odd"])
        evidence["malformed"] = list(rows)
    return {**evidence, "schema": 1}


def folder(path: Path, chance: random.Random, run: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """A run's folder, in which something is damaged."""
    path.mkdir()
    for name, content in (("result.json", run[1]), ("evidence.json", run[2])):
        how = chance.choice(("value", "value", "bytes", "as it was", "as it was", "as it was"))
        if how == "value":
            content = damaged_value(content, chance)
        said = json.dumps(content).encode()
        if how == "bytes":
            said = damaged_bytes(said, chance)
        if chance.random() < 0.97:
            (path / name).write_bytes(said)
    for name in chance.sample(NAMES, chance.randint(0, 3)):
        (path / os.fsdecode(name)).write_bytes(b"x")


NAMES = (
    b"javascript:alert(1)",
    b"\xff\xfe.pcap",
    b"<b>.log",
    b'" onclick="x',
    b"[bold].txt",
    b"a\x1b[2Jb",
    "é.png".encode(),
)


def folder_trial(place: Path, chance: random.Random, *, largest: int = 10**9) -> TrialOutcome:
    """One damaged folder, given to judge, report or compare; nothing outside it may change but compare's page."""
    from experiments import __main__ as command

    known = runs(largest)
    run = chance.choice(known)
    verb = chance.choice(("judge", "judge --json", "report", "compare"))
    words = [*verb.split(), str(place / "run")]
    folder(place / "run", chance, run)
    if verb == "compare":
        other = chance.choice([other for other in known if other[1]["experiment"] == run[1]["experiment"]])
        folder(place / "other", chance, other)
        words += [str(place / "other"), "--html", str(place / "page.html")]
    with ExitStack() as stack:
        if largest < 10**9 or chance.random() < 0.99:  # drawing takes most of the time
            stack.enter_context(mock.patch("experiments.engine.drawing.png", return_value=b""))
        outcome = tried(command.main, words, (0, 1, 2, 64) if verb.startswith("judge") else (0, 2, 64))
    allowed = {"run", "other", *(("page.html",) if outcome.code == 0 and verb == "compare" else ())}
    if strange := {path.name for path in place.iterdir()} - allowed:
        return TrialOutcome(outcome.code, outcome.out, outcome.err, f"wrote {strange}")
    return outcome


# --- policy files --------------------------------------------------------------------------------------------------

POLICIES = (
    """# an office hours policy
group  pair = srv1, srv2

allow  tcp   internet -> lb  port 80, 443            # site: visitors reach the site
allow  icmp  mon -> any      type echo-request       # ping: the monitoring host looks who is alive
deny   any   attacker -> servers                     # no-scans: whatever comes below
allow  tcp   lb -> pair      port http, 8000-8080    # web: the balancer forwards requests
allow  udp   client, attacker -> dns port dns        # names
""",
    "allow any any -> any # everything: a\n",
    "group a = any\ngroup b = a, web\nallow tcp a -> b\ndeny udp b -> a port 1-65535\nallow icmp b -> lb type 0-255\n",
)
#: words that may stand for each other
POLICY_WORDS = (
    "allow deny",
    "tcp udp any",
    "lb srv1 web primary replicas internet dns attacker servers any client, a, b pair",
    "0 1 53 443 80, 65535 1-65535 http 8000-8080 2-9, echo-request 255",
)
KINDS = tuple(words.split() for words in POLICY_WORDS)
STRANGE_WORDS = (
    *("65536", "1-", "-1", "9-1", "9" * 5000, "x" * 500, "\n", "\r", "\0", "\x1b[2J", "\x85", "\u2028", "[/x]"),
    *("é", "٣", "\ufeff", "deny-rest", "line-1", "site:", "port,", ",,", "->->", "-", "=", ":"),
)
PIECES = re.compile(r"\s+|[^\s]+")


def damaged_policy(chance: random.Random) -> bytes:
    """A policy file's content: words and lines put in, left out, said again, in another order; and other bytes."""
    pieces = PIECES.findall(chance.choice(POLICIES))
    for _ in range(chance.randint(1, 5)):
        at, how = chance.randint(0, len(pieces) - 1), chance.randrange(12)
        if how == 0:
            del pieces[at : at + chance.randint(1, 3)]
        elif how == 1:
            pieces[at:at] = pieces[at : at + chance.randint(1, 40)]
        elif how == 2:
            other = chance.randint(0, len(pieces) - 1)
            pieces[at], pieces[other] = pieces[other], pieces[at]
        else:
            alike = {place: words for place, piece in enumerate(pieces) for words in KINDS if piece in words}
            at = chance.choice(list(alike)) if alike and how > 3 else at
            pieces[at] = chance.choice(alike[at] if how > 3 and at in alike else STRANGE_WORDS)
        pieces = pieces or ["\n"]
    said = "".join(pieces).encode()
    return damaged_bytes(said, chance) if chance.random() < 0.1 else said


def kept_proof(plan: Plan) -> Proof:
    """One for many policies, and a new one before it has filled the memory."""
    PROOFS.append(PROOFS[-1] if len(PROOFS) % 100 else Proof(plan))
    return PROOFS[-1]


PROOFS: list[Proof] = []


def policy_trial(place: Path, chance: random.Random) -> TrialOutcome:
    """One damaged policy file, given to ``policy check`` or ``verify --policy``."""
    from testbed import cli

    file = place / chance.choice(("my.policy", "\udcff.policy", "[bold].policy"))
    file.write_bytes(damaged_policy(chance))
    verb = ["verify", "--policy"] if chance.random() < 0.1 else ["policy", "check"]
    with alone(place):
        return tried(
            lambda words: cli.main(no_visit, words), [*verb, str(file)], (0, 64, *((1,) if len(verb[1]) > 5 else ()))
        )


# --- command lines -------------------------------------------------------------------------------------------------

LINES = """
list|run journey --seed 7 --json|run db_failover --repeat 3 --db semisync --faults crash --window 2.5
run tls_tampering --rate 5 --seconds 3 --junit x.xml --runs r --name t|judge DIR --json|judge DIR|report DIR
compare DIR DIR --html page.html|--help|run --help
"""
COMMANDS = """
status|status --json --name t|up --detach --name t --profile hardened|down --all|down t|exec srv1 -- ls -l
logs srv1 nginx|fault kill srv1 nginx|fault cut primary --seconds 3|heal 1|heal --all|flows fw1|verify --json
policy show --file --db async|policy check FILE|verify --policy FILE --json|policy apply FILE|denied --follow --json
switchover srv2|journey|completion bash|--name t --runs r --tls mutual --servers 5|--help|up --help
--profile hardened --layout stacked
"""
FILLERS = (
    *("-", "--", "---", "-x", "--x", "--json", "--json=1", "--name", "--name=", "--seed=x", "--servers=-1", "-h"),
    *("--servers", "99999", "--profile", "-1", "1e9", "nan", "9" * 5000, "../..", "/dev/full", "/nonexistent/x", "."),
    *("~", "*", "%s", "{x}", "é", "[/x]", "\x1b[2J", "\udcff", "\ud83d", "a b", "a\nb", "'", '"', ";", "$HOME"),
    *("x" * 9000, "@file", "srv9", "journey"),
)


def words_trial(place: Path, chance: random.Random) -> TrialOutcome:
    """One damaged command line; nothing boots, and no testbed is there to be asked."""
    from experiments import __main__ as experiments
    from testbed import cli

    ours = chance.random() < 0.4
    lines = [line for text in (LINES if ours else COMMANDS).split("\n") for line in text.split("|") if line]
    words = chance.choice(lines).split()
    for _ in range(chance.randint(0, 3)):
        at, how = chance.randint(0, len(words)), chance.randrange(4)
        words[at : at + (how < 2)] = [chance.choice((*FILLERS, *chance.choice(lines).split()))] if how else []
    (place / "my.policy").write_text(chance.choice(POLICIES))
    folder(place / "run", chance, chance.choice(runs(12_000)))
    filled = {"DIR": str(place / "run"), "FILE": str(place / "my.policy")}
    words = [filled.get(word, word) for word in words]
    with alone(place), mock.patch("experiments.engine.drawing.png", return_value=b""):
        if ours:
            return tried(experiments.main, words, (0, 1, 2, 64))
        return tried(lambda given: cli.main(no_visit, given), words, (0, 1, 2, 64))


def no_visit(testbed: Any, runs: Any) -> int:
    raise AssertionError("nothing boots here")


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """No testbed runs that could be asked, none is booted; and where we are is this place."""
    from testbed import session

    before = os.getcwd()
    state = place / "state"
    state.mkdir(mode=0o700)
    with mock.patch.dict(os.environ, FOOBAR_STATE=str(state)), mock.patch.object(session, "in_box", return_value=0):
        os.chdir(place)
        try:
            yield
        finally:
            os.chdir(before)


# --- all of them ---------------------------------------------------------------------------------------------------

TRIALS: Mapping[str, Callable[..., TrialOutcome]] = {
    "folders": folder_trial,
    "policies": policy_trial,
    "words": words_trial,
}


def trials(kind: str, count: int, seed: int = 1, **options: Any) -> Iterator[tuple[int, TrialOutcome]]:
    """So many trials; each has a place of its own, which is emptied after it."""
    for number in range(count):
        with tempfile.TemporaryDirectory() as place:
            yield number, TRIALS[kind](Path(place), random.Random(f"{seed} {number}"), **options)


def main(kind: str, count: str, seed: str = "1") -> int:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # what would fill the machine is a traceback instead
    began, codes, wrong = time.monotonic(), Counter[int](), Counter[str]()
    for number, outcome in trials(kind, int(count), int(seed)):
        codes[outcome.code] += 1
        if outcome.wrong:
            last = outcome.err.strip().splitlines()[-1:] or [""]
            where = [line.strip() for line in outcome.err.splitlines() if ", in " in line and "/experiments/" in line][
                -1:
            ]
            wrong[f"{outcome.wrong}: {last[0][:110]} {where}"] += 1
            if wrong[f"{outcome.wrong}: {last[0][:110]} {where}"] == 1:
                print(f"trial {number}: {outcome.wrong}: {last[0][:200]!r} {where}", flush=True)
    print(
        f"{count} {kind}, seed {seed}: exit codes {dict(sorted(codes.items()))}, {sum(wrong.values())} wrong, ", end=""
    )
    print(f"{time.monotonic() - began:.0f} s, {time.process_time():.0f} s of a processor")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
