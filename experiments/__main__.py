"""``python -m experiments``: list, run and judge experiments."""

from __future__ import annotations

from topo import early

if __name__ == "__main__":
    early.arm()

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import catalog
from experiments.engine import folder
from experiments.engine.base import Experiment
from experiments.engine.run import Asked, Option
from testbed import session, state
from testbed.body import Body
from testbed.commandline import Parser, guarded, refuse_empty
from topo import folders, profile
from topo.errors import EXIT_HOLDS, UsageError, among
from topo.plaintext import say

if TYPE_CHECKING:
    from testbed.testbed import Testbed

SEED = Option("seed", 0, "what decides every random choice, a whole number (a new one)", most=2**63 - 1)
REPEAT = Option("repeat", 1, "how many rounds to measure (a few: the short form)", least=1, most=10**6)

EPILOG = """\
exit codes: 0 the claim holds, 1 it fails, 2 unknown or refused, 3 the testbed broke, 64 bad usage, 130 interrupted;
of several the worst: fails is worse than unknown
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(words))


def alone(name: str) -> int:
    """``python -m experiments.NAME`` is ``python -m experiments run NAME``."""
    early.arm()
    return main(["run", name, *sys.argv[1:]])


def _parser() -> Parser:
    parser = Parser(prog="python -m experiments", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for add in COMMANDS.values():
        add(commands)
    return parser


def _dispatch(words: list[str]) -> int:
    refuse_empty(words)
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise UsageError(f"{words[0]}: no such command; commands: {among(words[0], COMMANDS)}")
    options = _parser().parse_args(words or ["--help"])
    options.words = words
    code: int = options.do(options)
    return code


def _command(commands: Any, name: str, about: str, do: Callable[[argparse.Namespace], int]) -> Parser:
    parser: Parser = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
    parser.set_defaults(do=do)
    return parser


def _add_list(commands: Any) -> None:
    _command(commands, "list", "every experiment with its claim", _list)


def _list(options: argparse.Namespace) -> int:  # noqa: ARG001 - as the other commands
    width = max(len(experiment.name) for experiment in catalog.EXPERIMENTS)
    for experiment in catalog.EXPERIMENTS:
        say(f"{experiment.name:{width}}  {experiment.claim}")
    return EXIT_HOLDS


def _add_run(commands: Any) -> None:
    parser = _command(commands, "run", "boot a testbed, run experiments on it, leave", _run)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--seed", metavar="N", help=SEED.why)
    parser.add_argument("--repeat", metavar="N", help=REPEAT.why)
    parser.add_argument("--json", action="store_true", help="print result.json (a list of several) and no story")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts as JUnit XML, too")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where results go (./runs)")
    parser.add_argument("--name", default=state.DEFAULT_NAME, help="the testbed's name, when several run")
    own = parser.add_argument_group("experiments' own flags")
    for flag, owners in _owners().items():
        about = "; ".join(_about(name, option) for name, option in owners.items())
        own.add_argument(f"--{flag}", metavar="X", help=about)
    profile.add_flags(parser)


def _run(options: argparse.Namespace) -> int:
    experiments = [catalog.experiment(name) for name in options.names]
    asked = Asked(_read(SEED, options.seed), _read(REPEAT, options.repeat), _own_flags(options, experiments))
    _refuse_repeat(experiments, asked)
    for experiment in experiments:
        asked.values(experiment.options)
    if options.junit:
        _refuse_strange(options.junit)
    folder.refuse(options.runs, options.names)
    desired = profile.from_flags(options)
    profile.refuse_later(desired)
    body = RunBody(experiments, options.runs, asked, as_json=options.json, junit=options.junit)
    return session.in_box(options.name, desired, ["-m", "experiments", *options.words], body, quiet=options.json)


def _owners() -> dict[str, dict[str, Option]]:
    """Every flag of an experiment's own, with the experiments that have it."""
    owners: dict[str, dict[str, Option]] = {}
    for experiment in catalog.EXPERIMENTS:
        for option in experiment.options:
            owners.setdefault(option.name, {})[experiment.name] = option
    return owners


def _about(name: str, option: Option) -> str:
    return f"{name}: {option.why} ({option.default})".replace("%", "%%")


def _own_flags(options: argparse.Namespace, experiments: Sequence[Experiment[Any]]) -> dict[str, str]:
    """The experiments' own flags, as they were typed. Raises UsageError for one that none of them has."""
    given = {flag: text for flag in _owners() if (text := getattr(options, flag)) is not None}
    theirs = {option.name for experiment in experiments for option in experiment.options}
    for flag, text in given.items():
        if flag not in theirs:
            owners = ", ".join(_owners()[flag])
            raise UsageError(f"--{flag} {text}: no flag of {', '.join(options.names)}, but of {owners}")
    return given


def _read(option: Option, text: str | None) -> int | None:
    return None if text is None else int(option.read(text))


def _refuse_repeat(experiments: Sequence[Experiment[Any]], asked: Asked) -> None:
    once = [experiment.name for experiment in experiments if not experiment.repeats]
    if asked.repeat is not None and once:
        raise UsageError(f"--repeat {asked.repeat}: {', '.join(once)} measures once and has nothing to repeat")


def _refuse_strange(file: Path) -> None:
    """Before anything is booted: a result that cannot be written is no result."""
    try:
        folders.refuse_strange(file)
    except UsageError as error:
        raise UsageError(f"--junit {error}") from None


class RunBody(Body):
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


def _add_folder(parser: Parser, name: str = "folder") -> None:
    parser.add_argument(name, type=Path, metavar="DIR", help="a run's folder")


def _add_judge(commands: Any) -> None:
    about = "the verdict of a run's folder, from its evidence alone (no root, no network)"
    parser = _command(commands, "judge", about, _judge)
    _add_folder(parser)
    parser.add_argument("--json", action="store_true")


def _judge(options: argparse.Namespace) -> int:
    from experiments.engine import report, savedrun

    run = savedrun.opened(options.folder, catalog.experiment)
    if options.json:
        print(json.dumps(run.verdict.as_dict(), indent=1))
    else:
        report.say(run.experiment, run.verdict)
    return run.verdict.exit_code


def _add_report(commands: Any) -> None:
    _add_folder(_command(commands, "report", "write a run's report.html again", _report))


def _report(options: argparse.Namespace) -> int:
    from experiments.engine import report, result

    experiment = catalog.experiment(result.read(options.folder).experiment)
    with folders.opened(options.folder) as place:
        say(report.write(experiment, place))
    return EXIT_HOLDS


def _add_compare(commands: Any) -> None:
    about = "two runs of one experiment side by side, on the terminal and as a page"
    parser = _command(commands, "compare", about, _compare)
    _add_folder(parser, "a")
    _add_folder(parser, "b")
    parser.add_argument("--html", type=Path, metavar="FILE", help="where the page goes (./compare-RUN-RUN.html)")


def _compare(options: argparse.Namespace) -> int:
    from experiments.engine import compare, report

    experiment = catalog.experiment(compare.common(options.a, options.b))
    sides = (compare.side("A", options.a, experiment), compare.side("B", options.b, experiment))
    comparison = compare.compared(experiment, *sides)
    report.show_comparison(comparison)
    ids = "-".join(path.resolve().name.rpartition("-")[2] for path in (options.a, options.b))
    page = report.write_comparison(comparison, options.html or Path(f"compare-{ids}.html"))
    say(f"page: {page}")
    return EXIT_HOLDS


COMMANDS = {"list": _add_list, "run": _add_run, "judge": _add_judge, "report": _add_report, "compare": _add_compare}

if __name__ == "__main__":
    sys.exit(main())
