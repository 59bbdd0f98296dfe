"""A run of ``waf`` as it is shown: the matrix of inputs and classes, honest texts, and the cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from experiments.engine import markup
from experiments.engine.plots import Plot, Series
from experiments.engine.verdict import Verdict
from experiments.waf.attacktexts import KINDS
from experiments.waf.checks import passed
from experiments.waf.effects import APPLICATION, refused
from experiments.waf.evidence import WafEvidence, WebAttackRow

#: the classes as columns
SHORT = dict(zip(KINDS, ("SQL", "XSS", "path", "command", "protocol", "smuggling", "scanner"), strict=True))
CORPORA = ("honest", "kind", "judged", "refused", "for example")
NONE = "-"
#: attacks that had their way, one by one
TOLD = 5


def matrix(rows: Sequence[WebAttackRow]) -> list[tuple[str, ...]]:
    """Inputs by classes: refused of sent, and how many had their way."""
    inputs = list(dict.fromkeys(row["input"] for row in sorted(rows, key=lambda row: row["input"].lower())))
    lines = [("input", *SHORT.values())]
    for name in inputs:
        own = [row for row in rows if row["input"] == name]
        lines.append((name, *_cells(own)))
    return [*lines, ("all", *_cells(rows))]


def _cells(rows: Sequence[WebAttackRow]) -> Iterator[str]:
    return (_cell([row for row in rows if row["kind"] == kind]) for kind in KINDS)


def _cell(rows: Sequence[WebAttackRow]) -> str:
    if not rows:
        return NONE
    worked = sum(bool(row["answer"]["worked"]) for row in rows)
    return f"{len(rows) - len(passed(rows))}/{len(rows)}" + (f" {worked}!" if worked else "")


def story(evidence: WafEvidence) -> Iterator[str]:
    """The numbers in words."""
    rows = evidence.attacks
    yield f"refused of sent; ! had their way. Refused by: {_by(row['answer'] for row in rows)}"
    yield from _without(rows)
    worked = [row for row in rows if row["answer"]["worked"]]
    for row in worked[:TOLD]:
        yield f"{row['kind']} in {row['input']}: {row['text'][:60]!r}: {row['answer']['worked']}"
    if worked[TOLD:]:
        yield f"and {len(worked) - TOLD} more that had their way"
    if evidence.scripts:
        yield f"scripts in free text: {evidence.scripts_refused} of {evidence.scripts} spellings refused by the library"
    for wire in evidence.wire:
        told = f"{wire['refused']} of {wire['sent']} refused, {wire['otherwise']} judged otherwise"
        yield f"sent: {wire['corpus']}: {told}"
    for cost in evidence.cost:
        bare_ms = "" if cost["bare_ms"] is None else f", {cost['bare_ms']:.2f} ms without the firewall"
        yield f"nginx, {cost['page']}: {cost['ms']:.2f} ms of processor time a request{bare_ms}"
    for name, ms in evidence.library_ms.items():
        yield f"the library, {name}: {ms:.2f} ms of processor time a request"
    if evidence.refusals:
        yield f"refusals on the monitoring host: {evidence.refusals[0]} of {evidence.refusals[1]}"


def _without(rows: Sequence[WebAttackRow]) -> Iterator[str]:
    bare = [row["bare"] for row in rows if row["bare"]]
    if bare:
        stopped = sum(answer["by"] == APPLICATION and not answer["worked"] for answer in bare)
        worked = sum(bool(answer["worked"]) for answer in bare)
        told = f"{sum(map(refused, bare))} refused all the same, {stopped} stopped by the application"
        yield f"without the firewall: {told}, {worked} had their way"


def _by(answers: Iterable[object]) -> str:
    counts: dict[str, int] = {}
    for answer in answers:
        if refused(answer):  # type: ignore[arg-type]
            by = str(answer["by"])  # type: ignore[index]
            counts[by] = counts.get(by, 0) + 1
    return ", ".join(f"{by} {count}" for by, count in sorted(counts.items(), key=lambda item: -item[1])) or "nobody"


def corpus_rows(evidence: WafEvidence) -> list[tuple[str, ...]]:
    """The values of ``CORPORA`` for each kind of honest request."""
    return [
        (row["corpus"], row["kind"], f"{row['judged']:,}", f"{row['refused']:,}", _example(row["examples"]))
        for row in evidence.corpora
    ]


def _example(examples: Sequence[str]) -> str:
    return repr(examples[0][:50]) if examples else ""


def show(evidence: WafEvidence, _: Verdict) -> str:
    """The matrix, honest requests, and the rest in words."""
    parts = [*_aligned(matrix(evidence.attacks))]
    if evidence.corpora:
        parts += ["", *_aligned([CORPORA, *corpus_rows(evidence)])]
    return "\n".join([*parts, "", *story(evidence)])


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def page(evidence: WafEvidence) -> str:
    """The same as tables of report.html, with every attack that passed."""
    through = [("input", "class", "attack", "answered by", "status", "had its way")]
    for row in passed(evidence.attacks):
        answer = row["answer"]
        told = (answer["by"], str(answer["status"]), answer["worked"])
        through.append((row["input"], row["kind"], row["text"], *told))
    tables: tuple[Sequence[tuple[str, ...]], ...] = (
        matrix(evidence.attacks),
        [CORPORA, *corpus_rows(evidence)],
        through,
    )
    return markup.page(tables, story(evidence))


def plots(evidence: WafEvidence) -> Sequence[Plot]:
    """By class, the shares that were refused with the firewall and without it."""
    rows = [(kind, [row for row in evidence.attacks if row["kind"] == kind]) for kind in KINDS]
    known = [(SHORT[kind], of) for kind, of in rows if of]
    if not known:
        return ()
    names = [name for name, _ in known]
    series = [Series("as it is", names, [1 - len(passed(of)) / len(of) for _, of in known])]
    if any(row["bare"] for row in evidence.attacks):
        shares = [sum(bool(row["bare"]) and refused(row["bare"]) for row in of) / len(of) for _, of in known]  # type: ignore[arg-type]
        series.append(Series("without the firewall", names, shares))
    return (Plot("Attacks that were refused", "class", "share of those sent", series, kind="bars"),)
