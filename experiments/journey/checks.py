"""The 13 steps of the write-up as checks: each is a pure function from the journey's evidence to what was seen of it.

Two requests of the visit are followed: the message being posted, and the page that shows it afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.journey.evidence import JourneyEvidence, TlsModes
from experiments.journey.evidenceindex import EvidenceIndex, Unseen
from experiments.journey.frontsteps import (
    asks_dns,
    asks_for_the_site,
    browser_decrypts,
    browser_displays,
    dns_answers,
    encrypts_the_answer,
    ends_tls,
    forwards,
    reads_the_name,
    sends_https,
)
from experiments.journey.serversteps import (
    answer_goes_back,
    asks_the_database,
    passes_the_firewall,
    passes_the_firewall_and_ends_tls,
    reaches_the_application,
)
from experiments.journey.steps import JourneyStep, Look

STEPS: tuple[tuple[str, Look], ...] = (
    ("the user asks for the website", asks_for_the_site),
    ("the computer asks DNS for the name", asks_dns),
    ("DNS returns the balancer's address", dns_answers),
    ("the computer sends an HTTPS request to the balancer", sends_https),
    ("the balancer ends TLS with the site's certificate", ends_tls),
    ("the balancer forwards the decrypted request to one nginx", forwards),
    ("nginx receives it through the firewall", passes_the_firewall),
    ("nginx passes it to the application server", reaches_the_application),
    ("the application asks the database", asks_the_database),
    ("the answer goes back to nginx and to the balancer", answer_goes_back),
    ("the balancer encrypts the answer and sends it", encrypts_the_answer),
    ("the browser decrypts the answer", browser_decrypts),
    ("the browser displays the website", browser_displays),
)
# other words where nginx speaks TLS
BACKEND_TLS: Mapping[int, tuple[str, Look]] = {
    6: ("the balancer forwards the request, encrypted anew, to one nginx", forwards),
    10: ("the answer goes back to nginx and, encrypted, to the balancer", answer_goes_back),
}
# and other means where that TLS is the visitor's own
PASSTHROUGH: Mapping[int, tuple[str, Look]] = {
    5: ("the balancer reads the site's name, and nothing else", reads_the_name),
    6: ("the balancer passes the encrypted connection on to one nginx", forwards),
    7: ("nginx receives it through the firewall and ends TLS", passes_the_firewall_and_ends_tls),
    10: ("the answer goes back to nginx, which encrypts it", answer_goes_back),
    11: ("the balancer passes the encrypted answer on", encrypts_the_answer),
}


def judge(evidence: JourneyEvidence) -> Verdict:
    """A step that went another way fails the claim; one without evidence leaves it unknown."""
    taken = steps(evidence)
    every = ClaimCheck[JourneyEvidence]("steps", lambda _: CheckResult(True, f"all {len(taken)} steps were seen"))
    return composed([every, *map(_check, taken)], evidence, _numbers(evidence, taken))


def _check(step: JourneyStep) -> ClaimCheck[JourneyEvidence]:
    return ClaimCheck(f"step {step.number}", lambda _: _result(step))


def _result(step: JourneyStep) -> CheckResult:
    missing = " has no evidence" if step.holds is None else ""
    return CheckResult(step.holds, f"step {step.number}{missing}: {step.what}")


def _numbers(evidence: JourneyEvidence, taken: Sequence[JourneyStep]) -> dict[str, Any]:
    first, last = evidence.visit["requests"][0], evidence.visit["requests"][-1]
    return {
        "steps": len(taken),
        "proved": len([step for step in taken if step.holds]),
        "wrong": [step.number for step in taken if step.holds is False],
        "unknown": [step.number for step in taken if step.holds is None],
        "visit_ms": round((float(last["time"]) - float(first["time"])) * 1000 + float(last["ms"]), 1),
        "requests": len(evidence.visit["requests"]),
        "packets": sum(capture["frames"] for capture in evidence.captures),
    }


def steps(evidence: JourneyEvidence) -> tuple[JourneyStep, ...]:
    """All 13, in order."""
    index, looks = EvidenceIndex(evidence), looks_for(evidence.tls)
    return tuple(_step(number, title, look, index) for number, (title, look) in enumerate(looks, start=1))


def looks_for(tls: TlsModes) -> list[tuple[str, Look]]:
    """The write-up's steps, in other words and by other means where TLS does not end at the balancer alone."""
    other = PASSTHROUGH if tls["passthrough"] else BACKEND_TLS if tls["backend_tls"] else {}
    return [other.get(number, step) for number, step in enumerate(STEPS, start=1)]


def _step(number: int, title: str, look: Look, index: EvidenceIndex) -> JourneyStep:
    try:
        return JourneyStep(number, title, look(index))
    except Unseen as error:
        return JourneyStep(number, title, None, str(error))
