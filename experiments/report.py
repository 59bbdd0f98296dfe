"""What a run shows: a few lines on the terminal, and report.html, one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from experiments import folder
from experiments.base import Evidence, Experiment, Verdict, judged

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    autoescape=select_autoescape(["html", "svg", "j2"]),
    trim_blocks=True,
    lstrip_blocks=True,
)
WORDS = {True: ("holds", "bold green"), False: ("fails", "bold red"), None: ("unknown", "bold yellow")}

console = Console(highlight=False)


def show(experiment: Experiment, result: Mapping[str, Any], path: Path) -> None:
    """The experiment's own story, then the verdict and where everything is."""
    verdict = Verdict(**result["verdict"])
    if result["status"] == "completed":
        console.print(experiment.show(folder.read(path, folder.EVIDENCE), verdict))
    say(experiment, verdict)
    console.print(f"results: {path}", soft_wrap=True)


def say(experiment: Experiment, verdict: Verdict) -> None:
    """Claim and verdict in two lines."""
    word, style = WORDS[verdict.holds]
    console.print(f"claim: {experiment.claim}", soft_wrap=True)
    console.print(Text.assemble("verdict: ", (word, style), f" - {verdict.because}"), soft_wrap=True)


def write(experiment: Experiment, path: Path) -> Path:
    """Write report.html from what is in a run's folder; returns its path."""
    result = folder.read(path, folder.RESULT)
    evidence = folder.read(path, folder.EVIDENCE)
    verdict = judged(experiment, evidence)
    html = TEMPLATES.get_template("report.html.j2").render(
        experiment=experiment,
        result=result,
        verdict=verdict,
        folder=path,
        word=WORDS[verdict.holds][0],
        page=_page(experiment, evidence),
        files=sorted(each.name for each in path.iterdir() if each.is_file() and not each.name.startswith(".")),
    )
    target = path / folder.REPORT
    target.write_text(html)
    return target


def _page(experiment: Experiment, evidence: Evidence) -> Markup:
    """The experiment's own part; what it cannot make of half the evidence is no reason to show nothing."""
    try:
        return Markup(experiment.page(evidence))
    except Exception as error:  # a run that was aborted has whatever evidence it has
        return Markup("<p class=faint>The evidence is not enough for this experiment's own page ({}).</p>").format(
            f"{type(error).__name__}: {error}"
        )
