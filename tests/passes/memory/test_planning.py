"""Plans are sound, repeatable, no smaller than the bound and no larger than TensorFlow Lite's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.passes.memory.buffers import Buffer, Plan, end_of, lower_bound, neighbours
from tilewright.passes.memory.greedy import (
    ORDERS,
    FromBothEnds,
    in_program_order,
    lowest,
    place,
    tightest,
)
from tilewright.passes.memory.planning import greedy_by_size, plan
from tilewright.passes.memory.search import Search
from tilewright.passes.memory.skyline import PREFERENCES, on_skyline


def buffer(first: int, length: int, units: int) -> Buffer:
    return Buffer(first, first + length, 64 * units)


LISTS = st.lists(
    st.builds(buffer, st.integers(0, 30), st.integers(-1, 12), st.integers(0, 9)), max_size=40
)


def meet(a: Buffer, b: Buffer) -> bool:
    """Written down independently of the planner."""
    return bool(set(range(a.first, a.last + 1)) & set(range(b.first, b.last + 1)))


def assert_sound(buffers: list[Buffer], offsets: list[int] | tuple[int, ...]) -> None:
    placed = list(zip(buffers, offsets, strict=True))
    for i, (b, at) in enumerate(placed):
        assert at >= 0 and at % 64 == 0
        for c, other in placed[i + 1 :]:
            if meet(b, c) and b.size and c.size:
                assert at + b.size <= other or other + c.size <= at


def tensorflow_lite(buffers: list[Buffer]) -> int:
    """The arena of TensorFlow Lite's ArenaPlanner and SimpleMemoryArena, step by step."""
    placed: list[tuple[int, Buffer]] = []
    for b in sorted(buffers, key=lambda b: (-b.size, b.first)):
        if not b.size or b.last < b.first:
            continue
        current, best, best_fit = 0, None, None
        for at, c in sorted(placed, key=lambda p: p[0]):
            if not meet(b, c):
                continue
            if current + b.size <= at and (best_fit is None or at - current < best_fit):
                best, best_fit = current, at - current
            current = max(current, at + c.size)
        placed.append((current if best is None else best, b))
    return max((at + b.size for at, b in placed), default=0)


@settings(max_examples=300, deadline=None)
@given(LISTS)
def test_plans(buffers: list[Buffer]) -> None:
    found = plan(buffers)
    assert_sound(buffers, found.offsets)
    assert found == plan(list(buffers))
    assert found.size == end_of(buffers, found.offsets)
    assert lower_bound(buffers) == max(
        (sum(b.size for b in buffers if b.first <= t <= b.last) for t in range(50)), default=0
    )
    peer = tensorflow_lite(buffers)
    assert greedy_by_size(buffers).size == peer
    assert lower_bound(buffers) <= found.size <= peer


@settings(deadline=None)
@given(LISTS)
def test_every_method_is_sound(buffers: list[Buffer]) -> None:
    near = neighbours(buffers, 10_000)
    assert near is not None
    assert_sound(buffers, in_program_order(buffers))
    for preference in PREFERENCES:
        assert_sound(buffers, on_skyline(buffers, preference))
    for order in ORDERS:
        keys = order(buffers, near)
        alive = [i for i, b in enumerate(buffers) if b.lives]
        indices = [i for _, i in sorted((keys[i], i) for i in alive)]
        for gap in (lowest, tightest, FromBothEnds(lower_bound(buffers))):
            offsets = place(buffers, indices, near, gap)
            assert_sound(buffers, offsets)
        offsets = place(buffers, indices, near, lowest)
        found = Search(buffers, near, lower_bound(buffers), 20_000).improve(offsets)
        assert_sound(buffers, found)
        assert end_of(buffers, found) <= end_of(buffers, offsets)


@settings(deadline=None)
@given(LISTS, st.data())
def test_fixed_buffers_stay(buffers: list[Buffer], data: st.DataObject) -> None:
    offsets = plan(buffers).offsets
    fixed = [
        Buffer(b.first, b.last, b.size, at + 128) if data.draw(st.booleans()) else b
        for b, at in zip(buffers, offsets, strict=True)
    ]
    found = plan(fixed)
    assert_sound(buffers, found.offsets)
    assert all(b.at in (None, at) for b, at in zip(fixed, found.offsets, strict=True))
    assert found.size >= lower_bound(fixed)


def test_fixed_buffers_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="same place and time"):
        plan([Buffer(0, 2, 128, 0), Buffer(2, 3, 64, 64)])
    with pytest.raises(ValueError, match="below 0"):
        plan([Buffer(0, 2, 128, -64)])
    apart = [Buffer(0, 1, 128, 0), Buffer(2, 3, 64, 64)]
    assert plan(apart) == Plan((0, 64), 128)


MISSED = (
    ((2, 6, 7), (3, 5, 7), (4, 6, 1), (5, 8, 1), (5, 8, 1), (6, 7, 5), (7, 9, 5), (7, 10, 5)),
    ((0, 2, 2), (1, 4, 7), (4, 5, 5), (4, 7, 3), (5, 7, 5), (6, 7, 6), (7, 10, 1), (8, 10, 7)),
    ((0, 1, 2), (1, 3, 7), (2, 4, 4), (2, 5, 5), (3, 6, 2), (4, 7, 3), (5, 8, 7), (8, 11, 2)),
)
"""Lifetimes and sizes that greedy placement does not get to the bound, in any of its orders."""


@pytest.mark.parametrize("rows", MISSED)
def test_the_search_finds_what_greedy_placement_misses(
    rows: tuple[tuple[int, int, int], ...],
) -> None:
    buffers = [Buffer(first, last, 64 * size) for first, last, size in rows]
    near, bound = neighbours(buffers, 100), lower_bound(buffers)
    assert near is not None
    for order in ORDERS:
        keys = order(buffers, near)
        indices = [i for _, i in sorted((key, i) for i, key in enumerate(keys))]
        offsets = place(buffers, indices, near, lowest)
        assert end_of(buffers, offsets) > bound
    assert plan(buffers).size == bound


@pytest.mark.timeout(60)
def test_twenty_thousand_buffers() -> None:
    chain = [Buffer(i, i + 1, 64 * (1 + i % 7)) for i in range(20_000)]
    everywhere = [Buffer(0, 3000, 64) for _ in range(3000)]
    skips = [Buffer(i, i + (3 if i % 4 == 0 else 1), 64 * (1 + i * i % 11)) for i in range(20_000)]
    assert plan(chain).size == lower_bound(chain)
    assert plan(everywhere).size == lower_bound(everywhere)
    assert plan(skips).size == lower_bound(skips)
    assert greedy_by_size(skips).size > lower_bound(skips)
