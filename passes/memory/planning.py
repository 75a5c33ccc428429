"""`plan`: the smallest of the plans that the methods of this folder find.

    in program order, forwards and backwards         O(n log n)
    greedy by size, and from both ends               O(p log p) for p pairs of buffers that meet
    in the orders of the literature                  the same
    local search from the best so far                bounded per buffer, and in all
    on a skyline, and local search again             n steps over the buffers in a stretch of time

Each method is tried only while no plan reaches the lower bound, which most reach early.  With
`greedy_by_size`, TensorFlow Lite's planner, among them, no plan is larger than its (up to
MAX_PAIRS pairs).  Deterministic.

    plan([Buffer(0, 1, 128), Buffer(1, 2, 64), Buffer(2, 2, 128)]) == Plan((0, 128, 0), 192)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .buffers import Buffer, Plan, end_of, lower_bound, neighbours
from .greedy import (
    ORDERS,
    FromBothEnds,
    Neighbours,
    Order,
    by_size,
    by_start,
    in_program_order,
    lowest,
    place,
    tightest,
)
from .search import Search
from .skyline import PREFERENCES, on_skyline

MAX_PAIRS, FEW_PAIRS = 2_000_000, 500_000
"""Pairs of buffers that meet up to which greedy by size is tried, and up to which all methods."""
SEARCH_PER_BUFFER, SEARCH = 2_500, 1_000_000
"""Neighbours that a search visits at most, per buffer and in all."""


def plan(buffers: Sequence[Buffer]) -> Plan:
    """Offsets at which no two buffers that meet overlap; fixed buffers stay where they are.

    Offsets are sums and differences of sizes and of ends of fixed buffers: aligned if these are.
    ValueError for fixed buffers that overlap each other, or lie below 0.
    """
    _check_fixed(buffers)
    bound = lower_bound(buffers)
    found: list[Plan] = []
    for offsets in _plans(buffers, bound, found):
        found.append(Plan(tuple(offsets), end_of(buffers, offsets)))
        if found[-1].size <= bound:
            break
    return min(found, key=_size)


def greedy_by_size(buffers: Sequence[Buffer]) -> Plan:
    """The plan of TensorFlow Lite's planner: biggest first, each in the tightest gap."""
    near = neighbours(buffers, len(buffers) ** 2)
    assert near is not None
    offsets = place(buffers, _sorted(by_size, buffers, near), near, tightest)
    return Plan(tuple(offsets), end_of(buffers, offsets))


def _plans(buffers: Sequence[Buffer], bound: int, found: Sequence[Plan]) -> Iterator[list[int]]:
    """Offsets by one method after the other; `found` are the plans of those before."""
    free = all(b.at is None for b in buffers)
    if free:
        yield in_program_order(buffers)
        yield in_program_order([Buffer(-b.last, -b.first, b.size) for b in buffers])
    near = neighbours(buffers, MAX_PAIRS if free else len(buffers) ** 2)
    few = near is not None and sum(map(len, near)) <= 2 * FEW_PAIRS
    if near is not None:
        yield place(buffers, _sorted(by_size, buffers, near), near, tightest)
    if near is not None and few:
        for order in (by_start, by_size):
            yield place(buffers, _sorted(order, buffers, near), near, FromBothEnds(bound))
        for order in ORDERS:
            yield place(buffers, _sorted(order, buffers, near), near, lowest)
        yield _searched(buffers, near, bound, found)
    if free:
        for preference in PREFERENCES:
            yield on_skyline(buffers, preference)
        if near is not None and few:
            yield _searched(buffers, near, bound, found)


def _searched(
    buffers: Sequence[Buffer], near: Neighbours, bound: int, found: Sequence[Plan]
) -> list[int]:
    """The search, from the smallest plan so far."""
    budget = min(SEARCH, SEARCH_PER_BUFFER * len(buffers))
    return Search(buffers, near, bound, budget).improve(min(found, key=_size).offsets)


def _sorted(order: Order, buffers: Sequence[Buffer], near: Neighbours) -> list[int]:
    keys = order(buffers, near)
    return sorted((i for i, b in enumerate(buffers) if b.lives), key=lambda i: (keys[i], i))


def _size(plan: Plan) -> int:
    return plan.size


def _check_fixed(buffers: Sequence[Buffer]) -> None:
    fixed = [b for b in buffers if b.at is not None and b.lives]
    near = neighbours(fixed, len(fixed) ** 2) or []
    for b, meeting in zip(fixed, near, strict=True):
        assert b.at is not None
        if b.at < 0:
            raise ValueError(f"{b} is fixed below 0")
        for j in meeting:
            c = fixed[j]
            assert c.at is not None
            if b.at < c.at + c.size and c.at < b.at + b.size:
                raise ValueError(f"{b} and {c} are fixed at the same place and time")
