"""Oracle 4's probes: a frame, and the host where the policy wants it to arrive; and asking them on real switches.

Probes are sent in turns, those that only make sense in a conversation after those that begin it. A turn has ended when
a canary from every sender has arrived behind its probes: switches keep the order of what one port brings.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from experiments.firewall_mutants import crafted
from experiments.firewall_mutants.crafted import CANARY, FIRST_NUMBER, NumberedFrame
from experiments.instruments.packetsockets import PacketSockets
from topo import wait
from topo.plan import Plan

NUMBERS, STEP = 2048, 4
# no probe for so long: behind the canaries, without them; and a turn's end at the latest
QUIET_SECONDS, LATE_SECONDS, MOST_SECONDS = 0.003, 0.1, 10.0
ENDS, IPV4, TCP = slice(26, 38), b"\x08\x00", b"\x06"  # where a frame has addresses and ports


@dataclass(frozen=True)
class Probe:
    """``what``: in words, unlike any other's. ``wanted``: the one host where it is to arrive; None for nowhere.

    ``sender`` None: no host is made to send it, the receiver's own system answers. ``after``: what must have been sent
    before, in an earlier turn. ``by``: how it is known where it arrives, ``frame``: every byte of it; ``flow`` or
    ``answer``: any TCP packet but the frame itself with its addresses and ports, this way or back. ``judged``: if not,
    it is sent for the sake of others only.
    """

    what: str
    sender: str | None
    frame: NumberedFrame
    wanted: str | None
    turn: int = 0
    after: str = ""
    by: str = "frame"
    judged: bool = True

    def sign(self, number: int) -> bytes:
        """The bytes that tell it apart where it arrives."""
        data = self.frame.numbered(number)
        if self.by == "frame":
            return data
        src, dst, sport, dport = data[26:30], data[30:34], data[34:36], data[36:38]
        return src + dst + sport + dport if self.by == "flow" else dst + src + dport + sport


@dataclass(frozen=True)
class ProbeMismatch:
    """``seen``: the hosts where a probe arrived."""

    what: str
    wanted: str | None
    seen: tuple[str, ...]

    def __str__(self) -> str:
        where = f"arrives at {', '.join(self.seen)}" if self.seen else "does not arrive"
        return f"{self.what}: {where}, though the policy " + ("forbids it" if self.wanted is None else "allows it")


class Prober:
    """Asks probes of the real network. ``quiet``: for how long no probe may come behind the canaries, in seconds."""

    def __init__(self, plan: Plan, sockets: PacketSockets, quiet: float = QUIET_SECONDS) -> None:
        self.sockets = sockets
        self.quiet = quiet
        self._canaries = [
            (src.name, crafted.arp(src, dst, operation=CANARY)) for src, dst in permutations(plan.hosts, 2)
        ]
        self._number = 0
        self.sent = 0

    def mismatches(self, probes: Sequence[Probe]) -> list[ProbeMismatch]:
        """The probes that twice did not end where the policy wants them: once, one may just have been lost."""
        wrong = self._wrong(probes)
        if not wrong:
            return []
        again = self._wrong(_with_what_they_need(probes, wrong))
        return [again[what] for what in wrong if what in again]

    def _wrong(self, probes: Sequence[Probe]) -> dict[str, ProbeMismatch]:
        seen = self._ask(probes)
        return {
            probe.what: ProbeMismatch(probe.what, probe.wanted, tuple(sorted(where)))
            for probe, where in zip(probes, seen, strict=True)
            if probe.judged and where != ({probe.wanted} if probe.wanted else set())
        }

    def _ask(self, probes: Sequence[Probe]) -> list[set[str]]:
        """The places that each probe reached."""
        self._number = (self._number + 1) % NUMBERS
        number = FIRST_NUMBER + STEP * self._number
        seen: list[set[str]] = [set() for _ in probes]
        signs = {probe.sign(number): where for probe, where in zip(probes, seen, strict=True)}
        for turn in sorted({probe.turn for probe in probes}):
            for probe in probes:
                if probe.turn == turn and probe.sender:
                    self.sockets.send(probe.sender, probe.frame.numbered(number))
                    self.sent += 1
            self._drain(signs, number + turn)
        return seen

    def _drain(self, signs: Mapping[bytes, set[str]], number: int) -> None:
        """Note where probes arrive until a canary of every sender has come and no probe follows, or none has for long.

        Other traffic does not count: with health checks every 40 ms the links are never quiet. Raises DeadlineError
        when probes go on arriving.
        """
        canaries = self._sent_canaries(number)
        awaited = set(canaries.values())
        last = began = time.monotonic()
        while time.monotonic() < began + MOST_SECONDS:
            for host, data in self.sockets.arrivals(self.quiet):
                if data in canaries:
                    awaited.discard(canaries[data])
                elif (where := _sign_of(signs, data)) is not None:
                    where.add(host)
                else:
                    continue
                last = time.monotonic()
            silent = time.monotonic() - last
            if silent >= LATE_SECONDS or (not awaited and silent >= self.quiet):
                return
        raise wait.late("the last probes' arrival", MOST_SECONDS, "probes still arrive")

    def _sent_canaries(self, number: int) -> dict[bytes, str]:
        """A canary from every host to every other, on its way: frame -> sender."""
        canaries = {frame.numbered(number): src for src, frame in self._canaries}
        for data, src in canaries.items():
            self.sockets.send(src, data)
        return canaries


def _sign_of(signs: Mapping[bytes, set[str]], data: bytes) -> set[str] | None:
    """The places that this frame's probe has reached so far; None when it is no probe."""
    where = signs.get(data)
    if where is None and data[12:14] == IPV4 and data[23:24] == TCP:
        return signs.get(data[ENDS])
    return where


def _with_what_they_need(probes: Sequence[Probe], wanted: Iterable[str]) -> list[Probe]:
    """Some of the probes, and those that must be sent before them."""
    known = {probe.what: probe for probe in probes}
    needed: set[str] = set()
    for what in wanted:
        while what and what not in needed:
            needed.add(what)
            what = known[what].after
    return [probe for probe in probes if probe.what in needed]
