"""Addresses by age: what lives at the same time lies apart, and the oldest memory is used first."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8

from tilewright.dialects.npu import AllocOp
from tilewright.dialects.types import memref
from tilewright.passes.npu.ages import MAX_SEGMENTS, place_by_age
from tilewright.passes.npu.banks import Buffer

lives = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted)
wishes = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 3), lives), max_size=20)


def buffer(size: int, first: int, last: int, slots: int = 1, at: int | None = None) -> Buffer:
    """A buffer; pinned if it has an address."""
    alloc = AllocOp(memref([size], i8, "spm"), slots)
    return Buffer(alloc, size, slots, first, last, 0, [] if at is None else [at])


@settings(max_examples=500)
@given(wishes, st.lists(st.tuples(st.integers(1, 20), lives), max_size=4))
def test_buffers_alive_together_do_not_overlap(
    wanted: list[tuple[int, int, list[int]]], fixed: list[tuple[int, list[int]]]
) -> None:
    capacity = 128
    buffers = [buffer(size, life[0], life[1], slots) for size, slots, life in wanted]
    top, pinned = capacity, list[Buffer]()
    for size, life in fixed:  # one below the other, as if all were alive together
        top -= size
        pinned.append(buffer(size, life[0], life[1], at=top))
    if not place_by_age(buffers, pinned, capacity):
        assert all(not b.addresses for b in buffers)
        return
    for b in buffers:
        assert len(b.addresses) == b.slots
        assert all(low >= 0 and high <= capacity for low, high in b.intervals)
        assert sorted(b.intervals) == b.intervals
        assert all(x[1] <= y[0] for x, y in combinations(b.intervals, 2))
    for a, b in combinations([*buffers, *pinned], 2):
        if a.meets(b):
            assert all(x[1] <= y[0] or y[1] <= x[0] for x in a.intervals for y in b.intervals)


def plainly(buffers: list[Buffer], capacity: int) -> list[int] | None:
    """Starts by trying every segment in turn; None if a buffer finds no room."""
    segments, starts = [(0, capacity, -1)], dict[int, int]()
    for buffer in sorted(buffers, key=lambda b: (b.first, -b.total)):
        found: list[tuple[int, int]] = []
        for low, _, _ in segments:
            end = low + buffer.total
            age = max(last for a, b, last in segments if a < end and low < b)
            if end <= capacity and age < buffer.first:
                found.append((age, low))
        if not found:
            return None
        start = starts[id(buffer)] = min(found)[1]
        end = start + buffer.total
        left = [(a, min(b, start), last) for a, b, last in segments if a < start]
        right = [(max(a, end), b, last) for a, b, last in segments if b > end]
        segments = [*left, (start, end, buffer.last), *right]
    return [starts[id(b)] for b in buffers]


@settings(max_examples=500)
@given(wishes, st.integers(30, 128))
def test_places_are_those_of_the_plain_search(
    wanted: list[tuple[int, int, list[int]]], capacity: int
) -> None:
    buffers = [buffer(size, life[0], life[1], slots) for size, slots, life in wanted]
    expected = plainly(buffers, capacity)
    found = place_by_age(buffers, [], capacity)
    assert [b.addresses[0] for b in buffers] == expected if found else expected is None


def test_many_dead_pieces_become_few() -> None:
    """More of them than are told apart, between two that live on: still all are used again."""
    count = 3 * MAX_SEGMENTS
    first, last = buffer(1, 0, 10 * count), buffer(1, 1, 10 * count)
    pieces = [buffer(1, 0, 2 + i) for i in range(count)]
    whole = buffer(count, 5 * count, 6 * count)
    assert place_by_age([first, *pieces, last, whole], [], count + 2)
    assert first.addresses == [0] and whole.addresses == [1] and last.addresses == [count + 1]


def test_the_place_that_died_longest_ago_is_taken() -> None:
    """Memory of 100: a, b and c in turn; d takes what is left of a, e what b had."""
    a, b, c = buffer(40, 0, 1), buffer(40, 1, 2), buffer(40, 3, 5)
    d, e = buffer(20, 3, 4), buffer(40, 5, 6)
    assert place_by_age([a, b, c, d, e], [], 100)
    assert (a.addresses, b.addresses, c.addresses) == ([0], [40], [0])
    assert d.addresses == [80] and e.addresses == [40]


def test_pinned_buffers_bound_what_meets_them() -> None:
    pinned = buffer(30, 0, 3, at=70)
    meets, later = buffer(60, 2, 4), buffer(40, 4, 5)
    assert place_by_age([meets, later], [pinned], 100)
    assert meets.addresses == [0] and later.addresses == [60]
    assert not place_by_age([buffer(71, 2, 4)], [pinned], 100)
    assert place_by_age([buffer(100, 4, 4)], [pinned], 100)
