"""Measuring ``waf``: honest texts and scripts judged, honest requests and attacks sent, and what a request costs."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from experiments.instruments import load
from experiments.waf import attackmatrix, attacktexts, corpora, effects, firewallswitch, sender, tiers
from experiments.waf.attackmatrix import WebAttack
from experiments.waf.corpora import HonestRequest
from experiments.waf.evidence import AttackAnswer, CorpusRow, CostRow, WafEvidence, WireRow
from experiments.waf.sender import RawAnswer
from experiments.waf.webrequest import WebRequest, form, page
from topo import plan as roles

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from services.waf.engine import Engine
    from testbed.testbed import Testbed

#: honest requests of a corpus that are sent; log-ins cost a server much, and an address may do few
SAMPLE, LOG_INS = 60, 20
#: of each kind, refused ones that the evidence keeps
EXAMPLES = 4
#: requests of which the cost is measured: the share that are messages; for so long (s), and by their outcomes' file
COSTS = {"dynamic page": 0.0, "a message": 1.0}
COST_SECONDS, ASKED = 3.0, "asked.jsonl"
#: the library is asked so often for its own part of it
OFTEN = 500
BOARD_PAGES = 40
#: judged between two signs of progress
STEP = 250


def measure(testbed: Testbed, run: Run) -> WafEvidence:
    """All of it, in an order in which an attack cannot disturb honest people."""
    return WafMeasurement(testbed, run).all()


@dataclass
class WafMeasurement:
    """One run on one testbed."""

    testbed: Testbed
    run: Run

    def __post_init__(self) -> None:
        plan = self.testbed.plan
        self.client = self.testbed.inside(plan.host_of(roles.CLIENT).name)
        # from its own loopback network: neither limits for an address nor blocks answer in the firewall's place
        self.balancer = self.testbed.inside(plan.host_of(roles.BALANCER).name)
        self.shielded = self.testbed.profile.shielded
        self.spoilt = str(self.run.options["spoil"]) if self.shielded else "nothing"
        self.evidence: dict[str, Any] = {}

    def all(self) -> WafEvidence:
        self._note(shielded=self.shielded, spoilt=self.spoilt)
        with self.run.phase("log in"):
            self.session = load.log_in(self.client, 1)[0]
        with firewallswitch.spoilt(self.testbed, self.spoilt):
            if self.shielded:
                self._judge()
            cost, chosen = self._cost(), self._chosen()
            self._attack(chosen, cost)
        self._note(harm=tiers.left_behind(self.testbed), finished=True)
        return WafEvidence(**self.evidence)

    def _note(self, **values: Any) -> None:
        for name, value in values.items():
            self.evidence[name] = value
            self.run.keep(name, value)

    # --- honest people ---------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """All texts by the library, and a sample of them by the testbed."""
        texts = int(self.run.options["texts"])
        with judging(self.spoilt) as judge:
            with self.run.phase("honest texts", texts * 2) as progress:
                rows: dict[tuple[str, str], CorpusRow] = {}
                for number, honest in enumerate(corpora.corpora(self.run.random, texts)):
                    count(rows, honest, judge.status(honest.request.judged) != 0)
                    if number % STEP == STEP - 1:
                        progress.advance(STEP)
            hello = form("/messages", {"message": "Hello, how are you?"}, self.session)
            scripts = list(attacktexts.scripts())
            posted = [form("/messages", {"message": text}, self.session).judged for text in scripts]
            refused = sum(judge.status(asked) != 0 for asked in posted)
            self._note(corpora=list(rows.values()), scripts=len(scripts), scripts_refused=refused)
            self._note(library_ms={"a page": library_ms(judge, page("/")), "a message": library_ms(judge, hello)})
            self._send_sample(judge)

    def _send_sample(self, judge: Engine) -> None:
        sample = list(sampled(corpora.corpora(self.run.random, SAMPLE * 5, self.session)))
        with self.run.phase("honest requests", len(sample)) as progress:
            answers = sender.sent(self.client, [honest.request.raw for honest in sample], progress)
        rows: dict[str, WireRow] = {}
        for honest, answer in zip(sample, answers, strict=True):
            refused = effects.answered_by(answer) == effects.FIREWALL
            judged = judge.status(honest.request.judged) != 0
            row = rows.setdefault(
                honest.corpus, {"corpus": honest.corpus, "sent": 0, "refused": 0, "otherwise": 0, "examples": []}
            )
            row["sent"] += 1
            row["refused"] += refused
            row["otherwise"] += judged != refused
            if refused or judged or answer.status is None:
                row["examples"] = [*row["examples"], honest.text[: effects.LONGEST]][:EXAMPLES]
        self._note(wire=list(rows.values()))

    # --- the cost --------------------------------------------------------------------------------------------------

    def _cost(self) -> dict[str, float]:
        """Milliseconds of nginx's processor time for a request of each kind."""
        with self.run.phase("cost", len(COSTS)) as progress:
            found = {}
            for name, writes in COSTS.items():
                found[name] = self._cost_of(writes)
                progress.advance(1)
            return found

    def _cost_of(self, writes: float) -> float:
        """Less what health checks cost meanwhile, as they do in a while without requests."""
        tag = f"waf-{self.run.random.getrandbits(32):08x}"
        settings = load.LoadSettings(None, self.run.seed, tag, [self.session], writes=writes, fresh=0.0, clients=4)
        idle, checks = self._spent(lambda: time.sleep(COST_SECONDS))
        with self.run.folder.create(ASKED, "w") as out:
            seconds, spent = self._spent(lambda: self._load(settings, out))
        done = sum(outcome.ok for outcome in load.outcomes(self.run.folder.path / ASKED))
        self.run.folder.remove(ASKED)
        return round(max(0.0, spent - checks * seconds / idle) * 1000 / max(1, done), 4)

    def _load(self, settings: load.LoadSettings, out: IO[str]) -> None:
        with load.loading(self.client, settings, out):
            time.sleep(COST_SECONDS)

    def _spent(self, work: Callable[[], object]) -> tuple[float, float]:
        """The seconds that something took, and the processor seconds of nginx in them."""
        began, before = time.monotonic(), firewallswitch.spent_s(self.testbed)
        work()
        return time.monotonic() - began, firewallswitch.spent_s(self.testbed) - before

    # --- attacks ---------------------------------------------------------------------------------------------------

    def _chosen(self) -> list[WebAttack]:
        return list(shared(attackmatrix.attacks(self.run.random, self.session), float(self.run.options["share"])))

    def _attack(self, chosen: Sequence[WebAttack], cost: dict[str, float]) -> None:
        """With the firewall, and the same without it."""
        began = time.time()
        answers, bare, without = self._tried("attacks", chosen), list[AttackAnswer](), dict[str, float]()
        self._note(attacks=effects.rows(chosen, answers, bare))
        if self.shielded:
            self._note(refusals=tiers.stored_refusals(self.testbed, answers, began))
            with firewallswitch.off(self.testbed):
                without = self._cost()
                bare = self._tried("attacks without it", chosen)
        self._note(attacks=effects.rows(chosen, answers, bare))
        rows: list[CostRow] = [{"page": name, "ms": ms, "bare_ms": without.get(name)} for name, ms in cost.items()]
        self._note(cost=rows)

    def _tried(self, phase: str, chosen: Sequence[WebAttack]) -> list[AttackAnswer]:
        with self.run.phase(phase, len(chosen)) as progress:
            raw = sender.sent(self.balancer, [attack.raw for attack in chosen], progress, apart=True)
            raw = [self._again(attack, answer) for attack, answer in zip(chosen, raw, strict=True)]
        answers = [effects.answered(attack, answer) for attack, answer in zip(chosen, raw, strict=True)]
        answers = effects.stored(chosen, answers, self._board())
        return effects.smuggled(chosen, answers, tiers.unseen(self.testbed, [attack.smuggled for attack in chosen]))

    def _again(self, attack: WebAttack, answer: RawAnswer) -> RawAnswer:
        """Slow ones are asked once more, alone, and so is the same that does not sleep: a busy machine delays both."""
        if not attack.slow or answer.seconds < attacktexts.SLOW_S:
            return answer
        slow, control = (
            sender.sent(self.balancer, [raw], self.run.progress, apart=True)[0]
            for raw in (attack.raw, attacktexts.awake(attack.raw))
        )
        return replace(slow, seconds=slow.seconds - control.seconds)

    def _board(self) -> str:
        """The newest pages of the board, as they are sent to browsers."""
        target, text = "/messages", ""
        for _ in range(BOARD_PAGES):
            (answer,) = sender.sent(self.balancer, [page(target).raw], self.run.progress, apart=True)
            text += answer.text
            older = tiers.OLDER.search(answer.text)
            if older is None:
                break
            target = older[1]
        return text


@contextmanager
def judging(spoilt: str) -> Iterator[Engine]:
    """The library with the testbed's rules, spoilt as they are."""
    from services.waf import wafrules
    from services.waf.engine import engine

    with tempfile.TemporaryDirectory(prefix="foobar-waf-") as folder:
        text = wafrules.rules(str(Path(folder, "waf.log")), folder)
        with engine((firewallswitch.SPOILING[spoilt](text),)) as judge:
            yield judge


def library_ms(judge: Engine, request: WebRequest) -> float:
    """The processor milliseconds in which the library judges a request."""
    asked, began = request.judged, time.process_time()
    for _ in range(OFTEN):
        judge.status(asked)
    return round((time.process_time() - began) * 1000 / OFTEN, 4)


def count(rows: dict[tuple[str, str], CorpusRow], honest: HonestRequest, refused: bool) -> None:
    """Add one judged request to the rows."""
    blank: CorpusRow = {"corpus": honest.corpus, "kind": honest.kind, "judged": 0, "refused": 0, "examples": []}
    row = rows.setdefault((honest.corpus, honest.kind), blank)
    row["judged"] += 1
    row["refused"] += refused
    if refused and len(row["examples"]) < EXAMPLES:
        row["examples"] = [*row["examples"], honest.text[: effects.LONGEST]]


def shared(every: Sequence[WebAttack], share: float) -> Iterator[WebAttack]:
    """That share of each class, in their order, at least one."""
    of = Counter(attack.kind for attack in every)
    left = {kind: max(1, round(number * share)) for kind, number in of.items()}
    for attack in every:
        if left[attack.kind]:
            left[attack.kind] -= 1
            yield attack


def sampled(stream: Iterator[HonestRequest]) -> Iterator[HonestRequest]:
    """The first of each corpus, of those with passwords few."""
    seen: dict[str, int] = {}
    for honest in stream:
        most = LOG_INS // 2 if honest.corpus in ("names", "passwords") else SAMPLE
        seen[honest.corpus] = seen.get(honest.corpus, 0) + 1
        if seen[honest.corpus] <= most:
            yield honest
