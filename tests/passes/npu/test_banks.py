"""Addresses by banks: queues that work at the same time get banks of their own where they can."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8

from support.npu_programs import machine
from tilewright.dialects.npu import AllocOp
from tilewright.dialects.npu.isa import Queue
from tilewright.dialects.types import memref
from tilewright.passes.npu.banks import Buffer, Spreader
from tilewright.passes.npu.traffic import Traffic, Use

CAPACITY, BANKS = 4096, 4


def buffer(size: int, slots: int = 1, first: int = 0, last: int = 9) -> Buffer:
    return Buffer(AllocOp(memref([size], i8, "spm"), slots), size, slots, first, last, 0)


def spreader(busy: dict[Queue, list[Buffer]]) -> Spreader:
    """Each queue works with its buffers all the time, an access a cycle."""
    traffic = Traffic()
    for queue, buffers in busy.items():
        for b in buffers:
            traffic.uses.setdefault(b.alloc, {})[queue] = Use(1000.0, 1000.0)
    made = machine(CAPACITY, CAPACITY, banks=BANKS)
    return Spreader(made.scratchpad, made, traffic)


def banks(b: Buffer) -> set[int]:
    size = CAPACITY // BANKS
    return {k for low, high in b.intervals for k in range(low // size, -(-high // size))}


def test_queues_at_work_together_get_banks_of_their_own() -> None:
    a, b = buffer(512), buffer(512)
    assert spreader({Queue.LOAD: [a], Queue.MATRIX: [b]}).place([a, b], [], [])
    assert not banks(a) & banks(b)


def test_the_slots_of_a_buffer_lie_in_different_banks() -> None:
    a = buffer(512, slots=2)
    made = spreader({Queue.LOAD: [a], Queue.MATRIX: [a]})
    assert made.place([a], [], [])
    low, high = a.intervals
    assert low[0] // 1024 != high[0] // 1024


def test_what_finds_no_room_leaves_no_addresses() -> None:
    a, b = buffer(3000), buffer(3000)
    assert not spreader({}).place([a, b], [], [])
    assert a.addresses == b.addresses == []


def test_a_place_tried_before_is_not_remembered() -> None:
    """The same buffers, elsewhere in a second attempt: costs are those of the new addresses."""
    a, b = buffer(512), buffer(512)
    made = spreader({Queue.LOAD: [a], Queue.MATRIX: [b]})
    for start in (0, 1024):
        a.addresses = [start]
        assert made.place([b], [a], [])
        assert not banks(a) & banks(b)


wishes = st.tuples(st.integers(1, 700), st.integers(1, 2), st.integers(0, 5), st.integers(0, 5))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(wishes, st.sampled_from(Queue)), max_size=8))
def test_buffers_alive_together_do_not_overlap(
    wanted: list[tuple[tuple[int, int, int, int], Queue]],
) -> None:
    busy: dict[Queue, list[Buffer]] = {}
    for (size, slots, one, other), queue in wanted:
        made = buffer(size, slots, min(one, other), max(one, other))
        busy.setdefault(queue, []).append(made)
    group = [b for buffers in busy.values() for b in buffers]
    if not spreader(busy).place(group, [], []):
        assert all(not b.addresses for b in group)
        return
    for a, b in combinations(group, 2):
        if a.meets(b):
            assert all(x[1] <= y[0] or y[1] <= x[0] for x in a.intervals for y in b.intervals)
