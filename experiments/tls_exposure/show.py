"""``tls_exposure`` as it is shown: secrets by links, on the terminal and in the report."""

from __future__ import annotations

import string
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.engine.plots import Plot, Series
from experiments.engine.report import TEMPLATES
from experiments.engine.verdict import Verdict
from experiments.tls_exposure.checks import ExposureReading, grid, reading
from experiments.tls_exposure.evidence import ExposureEvidence

LETTERS = string.ascii_lowercase
READABLE, INSIDE, PROOF, NOTHING = "readable", "inside TLS", "proof", ""
MARKS = {READABLE: ("●", "bold red"), INSIDE: ("○", "green"), PROOF: ("◐", "yellow"), NOTHING: ("·", "dim")}


def cell(exposure: ExposureReading, secret: str, link: str) -> str:
    """The worst form in which a secret is on a link."""
    for what, rows in ((READABLE, exposure.exposures), (PROOF, exposure.scrambles), (INSIDE, exposure.inside)):
        if any((row["secret"], row["link"]) == (secret, link) for row in rows):
            return what
    return NOTHING


def show(evidence: ExposureEvidence, verdict: Verdict) -> RenderableType:  # noqa: ARG001 - shown below it anyway
    """A line for each link on which a secret travels, a column for each secret; below, what the columns are."""
    exposure = reading(evidence)
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("link", no_wrap=True)
    for letter, _ in zip(LETTERS, exposure.secrets, strict=False):
        table.add_column(letter)
    table.add_column("on the wire", no_wrap=True)
    for link in exposure.shown_links:
        cells = [Text(*MARKS[cell(exposure, secret, link)]) for secret in exposure.secrets]
        table.add_row(link, *cells, _wire(exposure, link))
    return Group(
        table, Text.assemble(*_legend()), *_columns(exposure), *(f"doubt: {doubt}" for doubt in exposure.doubts)
    )


def _wire(exposure: ExposureReading, link: str) -> Text:
    row = exposure.links[link]
    if not row["tls"]:
        return Text("plain text", "red")
    control = "sealed" if row["sealed"] else "opened by the key log" if row["control"] else "not opened by the key log"
    return Text(f"{', '.join(sorted(row['tls']))}, {control}", "green" if row["control"] else "yellow")


def _legend() -> list[tuple[str, str] | str]:
    parts: list[tuple[str, str] | str] = []
    for what, words in ((READABLE, "readable"), (PROOF, "a log-in's proof is readable"), (INSIDE, "inside TLS only")):
        parts += [MARKS[what], f" {words}   "]
    return parts


def _columns(exposure: ExposureReading) -> list[str]:
    width = max(map(len, exposure.secrets))
    named = zip(LETTERS, exposure.secrets, strict=False)
    return [f"{letter} {secret:{width}} {_summary(exposure, secret)}" for letter, secret in named]


def _summary(exposure: ExposureReading, secret: str) -> str:
    rows = [row for row in exposure.exposures if row["secret"] == secret]
    if rows:
        links = len({row["link"] for row in rows})
        return f"readable on {links} links, first in {rows[0]['file']}#{rows[0]['frames'][0]}: {rows[0]['form']}"
    if proofs := {row["link"] for row in exposure.scrambles if row["secret"] == secret}:
        return f"travels on no link, but on {len(proofs)} of them its proof is readable"
    return "travels on no link" if secret in exposure.absent else "inside TLS only"


def page(evidence: ExposureEvidence) -> str:
    """The same as HTML, with every row of the evidence below."""
    exposure = reading(evidence)
    return TEMPLATES.get_template("exposure.html.j2").render(exposure=exposure, cell=cell, grid=grid, marks=MARKS)


def plots(evidence: ExposureEvidence) -> Sequence[Plot]:
    """In how many packets each secret is readable, by link."""
    exposure = reading(evidence)
    links = exposure.shown_links
    series = [Series(secret, links, [grid(exposure, secret, link) for link in links]) for secret in exposure.secrets]
    readable = [line for line in series if any(line.y)]
    return (Plot("Packets in which a secret is readable", "link", "packets", readable, kind="bars"),)
