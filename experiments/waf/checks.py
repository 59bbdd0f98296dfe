"""The verdict on ``waf``: what was refused that should be, and what that should not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.engine.numbers import upper_bound
from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.waf.attackmatrix import MESSAGES, OPEN
from experiments.waf.attacktexts import KINDS, XSS
from experiments.waf.corpora import FREE
from experiments.waf.effects import APPLICATION, refused
from experiments.waf.evidence import CorpusRow, WafEvidence, WebAttackRow

#: of harmless free text, the share that may be refused; of scripts in it, the share that must be
FREE_SHARE, SCRIPT_SHARE = 0.01, 0.95


def judge(evidence: WafEvidence) -> Verdict:
    """False as soon as an attack passes where none may, has its way anywhere, or an honest person is refused."""
    return composed(CHECKS, evidence, _numbers(evidence))


def _numbers(evidence: WafEvidence) -> dict[str, object]:
    costs = {row["page"]: {"ms": row["ms"], "bare_ms": row["bare_ms"]} for row in evidence.cost}
    return {
        "attacks": len(evidence.attacks),
        "spoilt": evidence.spoilt,
        "cost_ms": costs,
        "library_ms": dict(evidence.library_ms),
    }


def passed(rows: Iterable[WebAttackRow]) -> list[WebAttackRow]:
    """The attacks that reached the application, or were given what they asked for before it."""
    return [row for row in rows if not refused(row["answer"])]


def _attacks_refused(evidence: WafEvidence) -> CheckResult:
    closed = [row for row in evidence.attacks if row["input"] not in OPEN]
    through = passed(closed)
    numbers = {"closed": len(closed), "refused": len(closed) - len(through), "passed": len(through)}
    if through:
        first = through[0]
        said = f"{first['kind']} in {first['input']} passed: {first['text'][:60]!r}"
        off = "" if evidence.shielded else "--waf off: "
        return CheckResult(False, f"{off}{len(through)} of {len(closed)} attacks passed; {said}", numbers)
    if not closed:
        return CheckResult(None, "no attack was sent", numbers)
    return CheckResult(True, f"all of {len(closed)} attacks outside of free text were refused", numbers)


def _none_worked(evidence: WafEvidence) -> CheckResult:
    worked = [row for row in evidence.attacks if row["answer"]["worked"]]
    bare = [row for row in evidence.attacks if row["bare"] and row["bare"]["worked"]]
    numbers = {"worked": len(worked), "would_have_worked": len(bare), "harm": list(evidence.harm)}
    if worked:
        first = worked[0]
        said = f"{first['kind']} in {first['input']}: {first['answer']['worked']}"
        return CheckResult(False, f"{len(worked)} attacks had their way; {said}", numbers)
    if evidence.harm:
        return CheckResult(False, f"an attack left {', '.join(evidence.harm)}", numbers)
    return CheckResult(True, "no attack had its way", numbers)


def _honest(evidence: WafEvidence) -> CheckResult:
    rows = [row for row in evidence.corpora if row["corpus"] != FREE]
    numbers = _counted("honest", rows)
    if wrong := [row for row in rows if row["refused"]]:
        return CheckResult(False, _example(wrong, rows), numbers)
    if not rows:
        return CheckResult(None, "no honest request was judged", numbers)
    count = sum(row["judged"] for row in rows)
    return CheckResult(True, f"none of {count:,} honest requests is refused", numbers)


def _honest_texts(evidence: WafEvidence) -> CheckResult:
    rows = [row for row in evidence.corpora if row["corpus"] == FREE]
    numbers = _counted("texts", rows)
    judged, wrong = (sum(row[name] for row in rows) for name in ("judged", "refused"))
    if not judged:
        return CheckResult(None, "no honest text was judged", numbers)
    if wrong > FREE_SHARE * judged:
        return CheckResult(False, _example([row for row in rows if row["refused"]], rows), numbers)
    return CheckResult(True, f"{wrong} of {judged:,} honest texts are refused", numbers)


def _counted(name: str, rows: Sequence[CorpusRow]) -> dict[str, object]:
    judged, wrong = (sum(row[of] for row in rows) for of in ("judged", "refused"))
    bound = round(upper_bound(wrong, judged), 6) if judged else None
    return {name: judged, f"{name}_refused": wrong, f"{name}_bound": bound}


def _example(wrong: Sequence[CorpusRow], rows: Sequence[CorpusRow]) -> str:
    worst = max(wrong, key=lambda row: row["refused"])
    count, judged = sum(row["refused"] for row in wrong), sum(row["judged"] for row in rows)
    text = worst["examples"][0][:60] if worst["examples"] else ""
    return f"{count} of {judged:,} honest requests are refused; {worst['corpus']}, {worst['kind']}: {text!r}"


def _scripts(evidence: WafEvidence) -> CheckResult:
    sent = [row for row in evidence.attacks if row["kind"] == XSS and row["input"] in MESSAGES]
    count = evidence.scripts + len(sent)
    hit = evidence.scripts_refused + sum(refused(row["answer"]) for row in sent)
    numbers = {"scripts": count, "scripts_refused": hit}
    if not count:
        return CheckResult(None, "no script was put into free text", numbers)
    said = f"{hit} of {count} scripts in free text are refused"
    return CheckResult(hit >= SCRIPT_SHARE * count, said, numbers)


def _on_the_wire(evidence: WafEvidence) -> CheckResult:
    sent, otherwise = (sum(row[name] for row in evidence.wire) for name in ("sent", "otherwise"))
    closed = [row for row in evidence.wire if row["corpus"] != FREE and row["refused"]]
    numbers = {"sent": sent, "sent_otherwise": otherwise}
    if closed:
        row = closed[0]
        text = row["examples"][0][:60] if row["examples"] else ""
        return CheckResult(False, f"{row['refused']} of {row['sent']} were refused: {row['corpus']}: {text!r}", numbers)
    if not sent:
        return CheckResult(None, "no honest request was sent", numbers)
    if otherwise:
        return CheckResult(None, f"the library judges {otherwise} of {sent} requests otherwise than the site", numbers)
    return CheckResult(True, f"{sent} honest requests were answered as the library judges them", numbers)


def _told(evidence: WafEvidence) -> CheckResult:
    if evidence.refusals is None:
        return CheckResult(True, "nothing is stored: --monitoring off")
    stored, of = evidence.refusals
    numbers = {"refusals": of, "refusals_stored": stored}
    return CheckResult(stored == of, f"{stored} of {of} refusals are on the monitoring host", numbers)


def _control(evidence: WafEvidence) -> CheckResult:
    """Without the firewall, something of each class must get further: else something else refuses it all."""
    if not evidence.shielded:
        return CheckResult(True, "the testbed itself is without a firewall")
    bare = [(row["kind"], row["bare"]) for row in evidence.attacks]
    reached = [kind for kind, answer in bare if answer and answer["by"] == APPLICATION]
    missing = [kind for kind in KINDS if kind not in reached]
    numbers = {"reached_without": len(reached)}
    if missing:
        said = f"without the firewall, too, no attack reaches the application: {', '.join(missing)}"
        return CheckResult(None, said, numbers)
    return CheckResult(True, "without the firewall the application is reached", numbers)


def _all_measured(evidence: WafEvidence) -> CheckResult:
    said = "all was measured" if evidence.finished else "it did not come to its end"
    return CheckResult(evidence.finished or None, said)


CHECKS = (
    ClaimCheck("attacks are refused", _attacks_refused),
    ClaimCheck("no attack has its way", _none_worked),
    ClaimCheck("honest requests pass", _honest),
    ClaimCheck("honest texts pass", _honest_texts),
    ClaimCheck("scripts in free text are refused", _scripts),
    ClaimCheck("the site judges as the library does", _on_the_wire),
    ClaimCheck("refusals are told", _told),
    ClaimCheck("the attacks would get further", _control),
    ClaimCheck("all was measured", _all_measured),
)
