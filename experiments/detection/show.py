"""A run of ``detection`` as it is shown: a line for each attack, then the honest visitors and the forgeries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.detection.attacks import FORGED
from experiments.detection.checks import guilty, share, watched
from experiments.detection.evidence import AttackRow, DetectionEvidence
from experiments.detection.scoring import of_honest
from experiments.engine import markup
from experiments.engine.plots import Plot, Series
from experiments.engine.verdict import Verdict

COLUMNS = ("attack", "seen as", "seen ms", "blocked", "through", "without", "served")


def show(evidence: DetectionEvidence, _: Verdict) -> str:
    """The table, and the rest in words."""
    rows = [COLUMNS, *attack_rows(evidence)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*table, "", *story(evidence)])


def attack_rows(evidence: DetectionEvidence) -> list[tuple[str, ...]]:
    """The values of ``COLUMNS`` for every attack: ms since the source had shown enough of itself, and shares."""
    controls = {row["attack"]: row for row in evidence.attacks if row["control"]}
    return [
        (
            row["attack"],
            row["kind"] or "not seen",
            _after(row, row["seen"]),
            _after(row, row["blocked"]),
            _through(row),
            _through(controls[row["attack"]]) if row["attack"] in controls else "-",
            "-" if row["served"] is None else f"{row['served']:.1%}",
        )
        for row in watched(evidence)
    ]


def _through(row: AttackRow) -> str:
    return "refused" if row["family"] == FORGED else f"{share(row):.1%}"


def _after(row: AttackRow, moment: float | None) -> str:
    return "-" if moment is None else f"{(moment - (row['owed'] or row['began'])) * 1000:.0f}"


def story(evidence: DetectionEvidence) -> Iterator[str]:
    """Honest visitors and forgeries, in words."""
    for row in evidence.honest:
        said = f"{row['visits']:,} visits, {row['requests']:,} requests"
        yield f"{row['who']}: {said}, {row['refused']:,} refused, {row['unanswered']:,} not answered"
    yield f"false blocks: {len(of_honest(evidence.blocks, evidence.client, guilty(evidence)))}"
    if evidence.forged:
        forged = evidence.forged
        yield f"forged as {forged['host']}: {forged['packets']:,} packets sent, {forged['refused']:,} refused"
    if evidence.left_out:
        yield f"left out, the program is missing: {', '.join(evidence.left_out)}"


def page(evidence: DetectionEvidence) -> str:
    """The same as tables of report.html."""
    return markup.page([[COLUMNS, *attack_rows(evidence)]], story(evidence))


def plots(evidence: DetectionEvidence) -> Sequence[Plot]:
    """From an attack's beginning until it was seen and blocked."""
    rows = [row for row in watched(evidence) if row["blocked"] is not None]
    if not rows:
        return []
    names = [row["attack"] for row in rows]
    seen = [(row["seen"] or row["ended"]) - row["began"] for row in rows]
    blocked = [(row["blocked"] or row["ended"]) - row["began"] for row in rows]
    series = [Series("seen", names, seen), Series("blocked", names, blocked)]
    return [Plot("From the beginning of an attack", "attack", "time (s)", series, "bars")]
