"""``python -m experiments``: list, run and judge experiments."""

from __future__ import annotations

from topo import early

if __name__ == "__main__":
    early.arm()

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import catalog, folder
from experiments.base import Experiment, judged
from topo import profile, session, state
from topo.command import Parser, guarded
from topo.errors import EXIT_HOLDS, UsageError, among
from topo.testbed import Testbed

EPILOG = """\
commands:
  list                    every experiment with its claim
  run NAME... [flags]     boot a testbed, run experiments on it, leave; --help shows the flags
  judge DIR               the verdict of a run's folder, from its evidence alone (no root, no network)
  report DIR              write a run's report.html again
exit codes: 0 the claim holds, 1 it fails, 2 unknown or refused, 3 the testbed broke, 64 bad usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    commands = {"list": _list, "run": _run, "judge": _judge, "report": _report}
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
    parser = Parser(prog="experiments run", description="Boot a testbed and run experiments on it.", allow_abbrev=False)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print result.json instead of the story")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where results go (./runs)")
    parser.add_argument("--name", default=state.DEFAULT_NAME, help="the testbed's name, when several run")
    profile.add_flags(parser)
    options = parser.parse_args(words)
    experiments = [catalog.experiment(name) for name in options.names]
    wanted = profile.from_flags(options)
    profile.refuse_later(wanted)
    body = Run(experiments, options.runs, as_json=options.json)
    return session.in_box(options.name, wanted, ["-m", "experiments", "run", *words], body, quiet=options.json)


class Run(session.Body):
    """Run some experiments, one after the other."""

    def __init__(self, experiments: Sequence[Experiment], runs: Path, *, as_json: bool) -> None:
        self.experiments = experiments
        self.runs = runs
        self.as_json = as_json

    def __call__(self, testbed: Testbed) -> int:
        from experiments import engine

        return engine.run_all(self.experiments, testbed, self.runs, as_json=self.as_json)


def _judge(words: list[str]) -> int:
    from experiments import engine, report

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
    return engine.exit_code(verdict.holds)


def _report(words: list[str]) -> int:
    from experiments import report

    parser = Parser(prog="experiments report", description="Write a run's report.html again.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(words)
    experiment = catalog.experiment(folder.read(options.folder, folder.RESULT)["experiment"])
    print(report.write(experiment, options.folder))
    return EXIT_HOLDS


if __name__ == "__main__":
    sys.exit(main())
