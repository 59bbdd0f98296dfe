"""The outcome of an attack: which part of the site answered, and whether it had its way. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from experiments.waf.attackmatrix import WebAttack
from experiments.waf.attacktexts import SLOW_S
from experiments.waf.evidence import AttackAnswer, WebAttackRow
from experiments.waf.sender import RawAnswer
from services.nginx import Shield

APPLICATION, FIREWALL, SERVER, BALANCER, NOBODY = "application", "firewall", "web server", "balancer", "nobody"
#: characters of an attack that the evidence keeps
LONGEST = 160


def answered_by(answer: RawAnswer) -> str:
    """The part of the site that answered. Only the application's answers vary with the session's cookie."""
    if answer.header("X-Served-By") is not None:
        if Shield.says in answer.text:
            return FIREWALL
        return APPLICATION if answer.header("Vary") == "Cookie" else SERVER
    return NOBODY if answer.status is None and "<" not in answer.text else BALANCER


def had_its_way(attack: WebAttack, answer: RawAnswer) -> str:
    """In a few words how the answer shows it; "" if it does not."""
    if attack.slow and answer.seconds >= SLOW_S and answered_by(answer) == APPLICATION:
        return f"the answer took {answer.seconds:.1f} s"
    if attack.proof and is_page(answer):
        found = re.search(attack.proof, answer.text.replace("\r\n", "\n"), re.I | re.M)
        return f"the answer has {found[0][:60]!r}" if found else ""
    return ""


def is_page(answer: RawAnswer) -> bool:
    """JSON is shown to nobody as a page."""
    return "json" not in (answer.header("Content-Type") or "")


def answered(attack: WebAttack, answer: RawAnswer) -> AttackAnswer:
    """The answer as the evidence keeps it."""
    by = answered_by(answer)
    return {
        "by": by,
        "status": answer.status,
        "request": answer.header("X-Request-ID") or "",
        "worked": "" if by == FIREWALL else had_its_way(attack, answer),
    }


def refused(answer: AttackAnswer) -> bool:
    """It was ended before the application saw any of it."""
    return answer["by"] != APPLICATION and (answer["status"] is None or answer["status"] >= 400)


def rows(
    attacks: Sequence[WebAttack], shielded: Sequence[AttackAnswer], bare: Sequence[AttackAnswer]
) -> list[WebAttackRow]:
    """Each attack with its answers; ``bare`` is empty where there was no firewall anyway."""
    return [
        {
            "input": attack.input,
            "kind": attack.kind,
            "text": attack.text[:LONGEST],
            "answer": answer,
            "bare": bare[number] if bare else None,
        }
        for number, (attack, answer) in enumerate(zip(attacks, shielded, strict=True))
    ]


def stored(attacks: Sequence[WebAttack], answers: Iterable[AttackAnswer], board: str) -> list[AttackAnswer]:
    """The same answers, and which texts stand on the board as they were written, ready to run."""
    return [
        {**answer, "worked": "it stands on the board"}
        if not answer["worked"] and "<" in attack.text and attack.text in board
        else answer
        for attack, answer in zip(attacks, answers, strict=True)
    ]


def smuggled(attacks: Sequence[WebAttack], answers: Iterable[AttackAnswer], hidden: set[str]) -> list[AttackAnswer]:
    """The same answers, and which requests reached a server without the tier before it having seen one."""
    return [
        {**answer, "worked": "a request reached a server unseen"} if attack.smuggled in hidden - {""} else answer
        for attack, answer in zip(attacks, answers, strict=True)
    ]
