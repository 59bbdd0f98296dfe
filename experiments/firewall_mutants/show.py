"""``firewall_mutants`` on the terminal and in report.html: the fate of each kind of mutation, and every mutant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from experiments.engine.report import TEMPLATES
from experiments.firewall_mutants import checks
from experiments.firewall_mutants.evidence import EQUIVALENT, MutantRow, MutantsEvidence


def shown(evidence: MutantsEvidence) -> str:
    """A line for each kind: how many met which fate."""
    return "\n".join(
        f"{kind:8} {subject:5} {', '.join(f'{count} {fate}' for fate, count in fates.items())}"
        for kind, subject, fates in kinds(evidence.mutants)
    )


def page(evidence: MutantsEvidence) -> str:
    """The same as HTML, and all mutants."""
    return TEMPLATES.get_template("firewall_mutants.html.j2").render(
        rows=worst_first(evidence.mutants), kinds=kinds(evidence.mutants), checks=checks
    )


def kinds(rows: Sequence[MutantRow]) -> list[tuple[str, str, Counter[str]]]:
    """(kind, subject, how many met which fate), in the order of their first appearance."""
    table: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        table.setdefault((row["kind"], row["subject"]), Counter())[checks.fate(row)] += 1
    return [(kind, subject, fates) for (kind, subject), fates in table.items()]


def worst_first(rows: Sequence[MutantRow]) -> list[MutantRow]:
    """All mutants: surviving ones, then those of which nothing is known, the caught and the equivalent ones."""

    def rank(row: MutantRow) -> int:
        if checks.survives(row) or checks.contradicts(row):
            return 0
        return 1 if checks.is_inconclusive(row) else 3 if row["proof"] == EQUIVALENT else 2

    return sorted(rows, key=rank)
