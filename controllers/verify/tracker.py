"""A connection tracker's possible answers about packets, as sets, by the state that is supposed.

Its answer depends on what happened before; a *state* is one supposition about that, the same on all switches:

    first     no tracker knows the conversation
    onward    every tracker that is asked knows it, and the packet goes the way of the first one
    answer    every tracker knows it, and the packet goes the other way
    related   an ICMP error for one of the two hosts of the conversation that it quotes, which each tracker may know
    invalid   every tracker refuses to make sense of it
    any       each tracker may say any of first, onward, answer: whatever was lost or has expired somewhere
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from controllers.flow import CT_EST, CT_INV, CT_NEW, CT_REL, CT_RPL
from controllers.verify.packetset import LEVEL, Node, Ranges, Space

STATES = ("first", "onward", "answer", "related", "invalid", "any")
FORGETFUL = ("first", "invalid")  # what is remembered does not matter
ICMP, TCP, UDP = 1, 6, 17
ICMP_ERRORS: Ranges = ((3, 5), (11, 12))
ICMP_ANSWERS = ((8, 0), (13, 14), (15, 16), (17, 18))

Which: TypeAlias = Callable[[Space, Node], Node]


def marked(space: Space, known: Node, marks: frozenset[int]) -> Node:
    """The conversations that are known under one of some marks."""
    return space.relabel(known, lambda value: bool(value & marks) or None, ("marked", marks))


def reverse(space: Space, conversations: Node) -> Node:
    """The conversations' answers: addresses and ports changed round, ICMP's types replaced by those that answer."""
    memo = space.memo("reverse")
    cached: Node | None = memo.get(conversations)
    if cached is None:
        parts = [part for box, _ in space.boxes(conversations) for part in _reversed_box(box)]
        cached = memo[conversations] = space.all(space.box(part) for part in parts)
    return cached


def _reversed_box(box: Mapping[str, Ranges]) -> Iterator[dict[str, Ranges]]:
    turned = {{"nw_src": "nw_dst", "nw_dst": "nw_src"}.get(name, name): value for name, value in box.items()}
    source, target = turned.pop("tp_src", None), turned.pop("tp_dst", None)
    protocols = turned.pop("nw_proto", ((0, 255),))
    ported = _within(protocols, ((TCP, TCP), (UDP, UDP)))
    ports = {name: value for name, value in (("tp_src", target), ("tp_dst", source)) if value}
    if ported:
        yield {**turned, "nw_proto": ported, **ports}
    if _within(protocols, ((ICMP, ICMP),)):
        pairs = (*ICMP_ANSWERS, *((answer, ask) for ask, answer in ICMP_ANSWERS))
        for ask, answer in pairs:
            if source is None or _within(source, ((ask, ask),)):
                yield {**turned, "nw_proto": ((ICMP, ICMP),), "tp_src": ((answer, answer),)}
    if others := _within(protocols, ((0, 0), (2, 5), (7, 16), (18, 255))):
        yield {**turned, "nw_proto": others}


def _within(one: Ranges, other: Ranges) -> Ranges:
    spans = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return tuple(sorted((low, high) for low, high in spans if low <= high))


def errors_about(space: Space, conversations: Node) -> Node:
    """ICMP errors for either host of a conversation: trackers match the quoted packet with the error's receiver."""
    memo = space.memo("errors")
    cached: Node | None = memo.get(conversations)
    if cached is None:
        hosts = [
            {"eth_type": ((0x0800, 0x0800),), **({"nw_dst": box[side]} if side in box else {})}
            for box, _ in space.boxes(space.forget(conversations, frozenset({LEVEL["nw_src"], LEVEL["nw_dst"]})))
            for side in ("nw_src", "nw_dst")
        ]
        errors = {"nw_proto": ((ICMP, ICMP),), "tp_src": ICMP_ERRORS}
        cached = memo[conversations] = space.all(space.box({**host, **errors}) for host in hosts)
    return cached


def itself(space: Space, conversations: Node) -> Node:  # noqa: ARG001 - as the others
    """The conversations' own packets, onward."""
    return conversations


# what the tracker may say of which packets of a conversation that it knows, and of what it does not know
SAID_OF_KNOWN: Mapping[str, tuple[tuple[int, Which], ...]] = {
    "onward": ((CT_EST, itself),),
    "answer": ((CT_EST | CT_RPL, reverse),),
    "related": ((CT_REL, errors_about), (CT_REL | CT_RPL, errors_about)),
    "any": ((CT_NEW, itself), (CT_EST, itself), (CT_EST | CT_RPL, reverse)),
}
SAID_OF_UNKNOWN = {"first": CT_NEW, "invalid": CT_INV, "any": CT_NEW}
