"""Sets of packets: their algebra agrees with that of single packets, and equal sets are one object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controllers.verify.packetset import FIELDS, LEAF, NAMES, Node, Ranges, Space, ranges, united

FEW = ("ct_mark", "nw_src", "tp_dst")
EDGES = (0, 1, 5, 6, 65535)
Point = dict[str, int]
points = st.fixed_dictionaries({name: st.sampled_from(EDGES) for name in FEW})
spans = st.lists(st.tuples(st.sampled_from(EDGES), st.sampled_from(EDGES)), min_size=1, max_size=3).map(
    lambda pairs: united((min(pair), max(pair)) for pair in pairs)
)
boxes = st.dictionaries(st.sampled_from(FEW), spans, max_size=3)
sets = st.lists(boxes, max_size=4)


def inside(box: dict[str, Ranges], point: Point) -> bool:
    return all(any(low <= point[name] <= high for low, high in box[name]) for name in box)


def has(node: Node, point: Point) -> bool:
    while node.level != LEAF:
        node = node.at(point.get(NAMES[node.level], 0))
    return node.value is True


@given(one=sets, other=sets, point=points)
def test_sets_are_what_their_points_are(
    one: list[dict[str, Ranges]], other: list[dict[str, Ranges]], point: Point
) -> None:
    space = Space()
    a, b = (space.all(space.box(box) for box in some) for some in (one, other))
    in_a, in_b = (any(inside(box, point) for box in some) for some in (one, other))
    assert has(a, point) == in_a
    assert has(space.join(a, b), point) == (in_a or in_b)
    assert has(space.within(a, b), point) == (in_a and in_b)
    assert has(space.minus(a, b), point) == (in_a and not in_b)
    disjoint = [box for box, _ in space.boxes(a)]
    assert sum(inside(box, point) for box in disjoint) == in_a
    assert space.all(space.box(box) for box in reversed(disjoint)) is a
    assert space.join(space.minus(a, b), space.within(a, b)) is a


@given(node=sets, point=points, number=st.sampled_from(EDGES))
def test_a_field_forgotten_may_have_any_value(node: list[dict[str, Ranges]], point: Point, number: int) -> None:
    space = Space()
    made = space.all(space.box(box) for box in node)
    level = NAMES.index("nw_src")
    forgotten = space.forget(made, frozenset(range(LEAF)) - {level})
    if has(made, point):
        assert has(forgotten, point | {"nw_src": number})
    if has(forgotten, point):
        others = ({name: ranges for name, ranges in box.items() if name != "nw_src"} for box in node)
        assert any(inside(box, point) for box in others)


@given(value=st.integers(0, 255), mask=st.integers(0, 255), number=st.integers(0, 255))
def test_a_mask_means_its_numbers(value: int, mask: int, number: int) -> None:
    meant = any(low <= number <= high for low, high in ranges(value & mask, mask, 8))
    assert meant == (number & mask == value & mask)


def test_every_field_has_its_bits() -> None:
    assert ranges(0, 0, FIELDS["nw_src"]) == ((0, 2**32 - 1),)
    assert ranges(0x0A000300, 0xFFFFFF00, 32) == ((0x0A000300, 0x0A0003FF),)
    assert len(ranges(0, 0x1FFF, 16)) == 8
