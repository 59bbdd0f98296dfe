"""``python -m experiments``: list, run and judge experiments."""

from __future__ import annotations

from topo import early

if __name__ == "__main__":
    early.arm()

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import catalog
from experiments.engine import folder
from experiments.engine.base import Experiment, judged
from experiments.engine.options import Option
from experiments.engine.run import Asked
from testbed import session, state
from testbed.commandline import Parser, guarded
from testbed.testbed import Testbed
from topo import profile
from topo.errors import EXIT_HOLDS, UsageError, among

SEED = Option("seed", 0, "what decides every random choice, a whole number (a new one)", most=2**63 - 1)
REPEAT = Option("repeat", 1, "how many rounds to measure (a few: the short form)", least=1, most=10**6)

EPILOG = """\
commands:
  list                    every experiment with its claim
  run NAME... [flags]     boot a testbed, run experiments on it, leave; --help shows the flags
  judge DIR               the verdict of a run's folder, from its evidence alone (no root, no network)
  report DIR              write a run's report.html again
  compare DIR DIR         two runs of one experiment side by side, on the terminal and as a page
exit codes: 0 the claim holds, 1 it fails, 2 unknown or refused, 3 the testbed broke, 64 bad usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(words))


def alone(name: str) -> int:
    """``python -m experiments.NAME`` is ``python -m experiments run NAME``."""
    return main(["run", name, *sys.argv[1:]])


def _dispatch(words: list[str]) -> int:
    commands = {"list": _list, "run": _run, "judge": _judge, "report": _report, "compare": _compare}
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: python -m experiments COMMAND\n\n{EPILOG}", end="")
        return EXIT_HOLDS
    if words[0] not in commands:
        raise UsageError(f"{words[0]}: no such command; commands: {among(words[0], commands)}")
    return commands[words[0]](words[1:])


def _list(words: list[str]) -> int:
    Parser(prog="experiments list", description="Every experiment with its claim.").parse_args(words)
    width = max(len(each.name) for each in catalog.EXPERIMENTS)
    for each in catalog.EXPERIMENTS:
        print(f"{each.name:{width}}  {each.claim}")
    return EXIT_HOLDS


def _run(words: list[str]) -> int:
    options = _run_parser().parse_args(words)
    experiments = [catalog.experiment(name) for name in options.names]
    asked = Asked(_read(SEED, options.seed), _read(REPEAT, options.repeat), _own_flags(options, experiments))
    _refuse_repeat(experiments, asked)
    for each in experiments:
        asked.values(each.options)
    _refuse_folder(options.junit)
    wanted = profile.from_flags(options)
    profile.refuse_later(wanted)
    body = Run(experiments, options.runs, asked, as_json=options.json, junit=options.junit)
    return session.in_box(options.name, wanted, ["-m", "experiments", "run", *words], body, quiet=options.json)


def _run_parser() -> Parser:
    parser = Parser(prog="experiments run", description="Boot a testbed and run experiments on it.", allow_abbrev=False)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--seed", metavar="N", help=SEED.why)
    parser.add_argument("--repeat", metavar="N", help=REPEAT.why)
    parser.add_argument("--json", action="store_true", help="print result.json instead of the story")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts as JUnit XML, too")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where results go (./runs)")
    parser.add_argument("--name", default=state.DEFAULT_NAME, help="the testbed's name, when several run")
    own = parser.add_argument_group("experiments' own flags")
    for flag, owners in _owners().items():
        own.add_argument(
            f"--{flag}", metavar="X", help="; ".join(_told(name, option) for name, option in owners.items())
        )
    profile.add_flags(parser)
    return parser


def _owners() -> dict[str, dict[str, Option]]:
    """Every flag of an experiment's own, with the experiments that have it."""
    found: dict[str, dict[str, Option]] = {}
    for each in catalog.EXPERIMENTS:
        for option in each.options:
            found.setdefault(option.name, {})[each.name] = option
    return found


def _told(name: str, option: Option) -> str:
    return f"{name}: {option.why} ({option.default})".replace("%", "%%")


def _own_flags(options: argparse.Namespace, experiments: Sequence[Experiment[Any]]) -> dict[str, str]:
    """What was given of the experiments' own flags. Raises UsageError for one that none of them has."""
    given = {flag: text for flag in _owners() if (text := getattr(options, flag)) is not None}
    theirs = {option.name for each in experiments for option in each.options}
    for flag, text in given.items():
        if flag not in theirs:
            owners = ", ".join(_owners()[flag])
            raise UsageError(f"--{flag} {text}: no flag of {', '.join(options.names)}, but of {owners}")
    return given


def _read(option: Option, text: str | None) -> int | None:
    return None if text is None else int(option.read(text))


def _refuse_repeat(experiments: Sequence[Experiment[Any]], asked: Asked) -> None:
    once = [each.name for each in experiments if not each.repeats]
    if asked.repeat is not None and once:
        raise UsageError(f"--repeat {asked.repeat}: {', '.join(once)} measures once and has nothing to repeat")


def _refuse_folder(file: Path | None) -> None:
    """Before anything is booted: a result that cannot be written is no result."""
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise UsageError(f"--junit {file}: {'is a folder' if file.is_dir() else f'no folder {file.parent}'}")


class Run(session.Body):
    """Run some experiments, one after the other."""

    def __init__(
        self, experiments: Sequence[Experiment[Any]], runs: Path, asked: Asked, *, as_json: bool, junit: Path | None
    ) -> None:
        self.experiments = experiments
        self.runs = runs
        self.asked = asked
        self.as_json = as_json
        self.junit = junit

    def __call__(self, testbed: Testbed) -> int:
        from experiments.engine import runner

        return runner.run_all(
            self.experiments, testbed, self.runs, self.asked, as_json=self.as_json, junit_file=self.junit
        )


def _judge(words: list[str]) -> int:
    from experiments.engine import report

    parser = Parser(prog="experiments judge", description="The verdict of a run's folder, from its evidence alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)
    experiment = catalog.experiment(folder.read(options.folder, folder.RESULT)["experiment"])
    verdict = judged(experiment, folder.read(options.folder, folder.EVIDENCE))
    if options.json:
        print(json.dumps(verdict.as_dict(), indent=1))
    else:
        report.say(experiment, verdict)
    return verdict.exit_code


def _report(words: list[str]) -> int:
    from experiments.engine import report

    parser = Parser(prog="experiments report", description="Write a run's report.html again.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(words)
    experiment = catalog.experiment(folder.read(options.folder, folder.RESULT)["experiment"])
    print(report.write(experiment, options.folder))
    return EXIT_HOLDS


def _compare(words: list[str]) -> int:
    from experiments.engine import compare, report

    parser = Parser(prog="experiments compare", description="Two runs of one experiment side by side.")
    parser.add_argument("a", type=Path, metavar="DIR")
    parser.add_argument("b", type=Path, metavar="DIR")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where the page goes (./compare-RUN-RUN.html)")
    options = parser.parse_args(words)
    experiment = catalog.experiment(compare.common(options.a, options.b))
    sides = (compare.side("A", options.a, experiment), compare.side("B", options.b, experiment))
    found = compare.compared(experiment, *sides)
    report.show_comparison(found)
    ids = "-".join(path.resolve().name.rpartition("-")[2] for path in (options.a, options.b))
    page = report.write_comparison(found, options.html or Path(f"compare-{ids}.html"))
    folder.give(page)
    print(f"page: {page}")
    return EXIT_HOLDS


if __name__ == "__main__":
    sys.exit(main())
