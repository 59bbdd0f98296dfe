"""An odd packet as a value: how it is crafted, what it may do, and why; and an aim, the pair that it is tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from topo.plan import Host

# what it may do: reach nobody; reach its destination where the policy allows that conversation to begin; and what an
# honest packet does, with which the odd ones are compared: it arrives there
NEVER, AS_POLICY, MUST = "never", "as policy", "must"

# whom it is tried on (aims.py)
PAIRS, ANY_PORT, PRETENDING = "pairs", "any port", "pretending"
STRANGER_TO_SERVER, STRANGER_TO_CLIENT, CLIENT, SERVER = "stranger to server", "stranger to client", "client", "server"


@dataclass(frozen=True)
class Conversation:
    """An established TCP connection: ``seq`` and ``ack`` are the next numbers of the client and of the server."""

    client: Host
    server: Host
    sport: int
    port: int
    seq: int
    ack: int


@dataclass(frozen=True)
class Aim:
    """One try: who really sends, to whom, at which TCP or UDP port, and whether the policy allows that.

    ``other`` is whom it may pretend to be. ``token``: 8 random bytes of this try alone. ``known``: a conversation that
    both or one of them has.
    """

    src: Host
    dst: Host
    other: Host
    port: int
    allowed: bool
    sport: int
    token: bytes
    known: Conversation | None = None


@dataclass(frozen=True)
class Piece:
    """One frame, and bytes in it that nothing else has, unless it quotes the frame; None: it is not looked for."""

    frame: bytes
    sign: bytes | None

    def __post_init__(self) -> None:
        if self.sign is not None and (len(self.sign) < 8 or self.sign not in self.frame):
            raise ValueError("a frame that could not be recognised")


@dataclass(frozen=True)
class Oddity:
    """``scope``: the aims that it is tried on; ``proto``: whether the aims' ports are TCP's or UDP's."""

    name: str
    may: str
    why: str
    craft: Callable[[Aim], tuple[Piece, ...]]
    scope: str = PAIRS
    proto: str = "tcp"
