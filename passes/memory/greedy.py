"""Placing buffers one by one: in program order by best fit, or in any order in some gap.

`in_program_order` is a heap that knows the future only as far as lifetimes go: O(n log n) whatever
they are.  `ORDERS` are the orders of the literature; placing in one of them costs O(p log p) for p
pairs of buffers that meet:

    by size       Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020
    by breadth    the same: buffers of the positions where most is alive first
    by length, by area, by contention    Maas et al., TelaMalloc, 2022
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .buffers import Buffer

Neighbours = Sequence[Sequence[int]]
"""For each buffer those it meets."""
Gap = Callable[[Sequence[tuple[int, int]], int], int]
"""The offset for a size, given ranges that are taken, ascending; they may overlap each other."""


def place(buffers: Sequence[Buffer], order: Sequence[int], near: Neighbours, gap: Gap) -> list[int]:
    """Offsets, placing buffers in `order`, fixed ones before all, each in the `gap` it is given."""
    offsets = [-1 if b.at is None else b.at for b in buffers]
    for i in order:
        if buffers[i].at is None:
            taken = sorted(
                (offsets[j], offsets[j] + buffers[j].size) for j in near[i] if offsets[j] >= 0
            )
            offsets[i] = gap(taken, buffers[i].size)
    return [max(o, 0) for o in offsets]


def lowest(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The lowest gap that fits between ranges `taken`, ascending."""
    at = 0
    for start, end in taken:
        if start - at >= size:
            break
        if end > at:
            at = end
    return at


def tightest(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The smallest gap that fits, the lowest of equals; the end if none does."""
    at, best, found = 0, 0, -1
    for start, end in taken:
        if start - at >= size and (found < 0 or start - at < best):
            best, found = start - at, at
        at = max(at, end)
    return at if found < 0 else found


@dataclass(frozen=True)
class FromBothEnds:
    """The floor if it is free, else hanging from the `ceiling`, else the lowest gap.

    A chain, where each buffer meets the next only, alternates between the two: optimal.
    """

    ceiling: int

    def __call__(self, taken: Sequence[tuple[int, int]], size: int) -> int:
        """An offset, given ranges `taken`, ascending."""
        if not taken or taken[0][0] >= size:
            return 0
        hanging = self.ceiling - size
        return hanging if hanging >= max(end for _, end in taken) else lowest(taken, size)


def in_program_order(buffers: Sequence[Buffer]) -> list[int]:
    """Offsets by best fit in program order; there must be no fixed buffers."""
    offsets = [0] * len(buffers)
    by_start: list[tuple[int, int]] = []  # free gaps (start, size), below the top
    by_size: list[tuple[int, int]] = []  # the same as (size, start)
    ends: list[tuple[int, int]] = []
    top = 0

    def remove(start: int, size: int) -> None:
        del by_start[bisect_left(by_start, (start, size))]
        del by_size[bisect_left(by_size, (size, start))]

    def release(start: int, size: int) -> None:
        nonlocal top
        i = bisect_left(by_start, (start, 0))
        if i < len(by_start) and by_start[i][0] == start + size:
            size += by_start[i][1]
            remove(*by_start[i])
        if i and sum(by_start[i - 1]) == start:
            start, size = by_start[i - 1][0], size + by_start[i - 1][1]
            remove(*by_start[i - 1])
        if start + size == top:
            top = start
        else:
            insort(by_start, (start, size))
            insort(by_size, (size, start))

    alive = (i for i, b in enumerate(buffers) if b.lives)
    for i in sorted(alive, key=lambda i: (buffers[i].first, -buffers[i].size, i)):
        size = buffers[i].size
        while ends and ends[0][0] < buffers[i].first:
            done = heapq.heappop(ends)[1]
            release(offsets[done], buffers[done].size)
        found = bisect_left(by_size, (size, 0))
        if found < len(by_size):
            gap, start = by_size[found]
            remove(start, gap)
            if gap > size:
                insort(by_start, (start + size, gap - size))
                insort(by_size, (gap - size, start + size))
        else:
            start, top = top, top + size
        offsets[i] = start
        heapq.heappush(ends, (buffers[i].last, i))
    return offsets


Key = tuple[int, ...]
Order = Callable[[Sequence[Buffer], Neighbours], list[Key]]
"""Sort keys of buffers, from the buffers and their neighbours."""


def by_start(buffers: Sequence[Buffer], near: Neighbours) -> list[Key]:
    """In program order, of equals the biggest first."""
    return [(b.first, -b.size) for b in buffers]


def by_size(buffers: Sequence[Buffer], near: Neighbours) -> list[Key]:
    """Biggest first; of equals the earliest."""
    return [(-b.size, b.first) for b in buffers]


def by_length(buffers: Sequence[Buffer], near: Neighbours) -> list[Key]:
    """Longest-lived first."""
    return [(b.first - b.last, -b.size) for b in buffers]


def by_area(buffers: Sequence[Buffer], near: Neighbours) -> list[Key]:
    """Size times lifetime."""
    return [(-b.size * (b.last - b.first + 1), b.first) for b in buffers]


def by_contention(buffers: Sequence[Buffer], near: Neighbours) -> list[Key]:
    """Those that meet the most units first."""
    total = [sum(buffers[j].size for j in js) for js in near]
    return [(-b.size - t, -b.size) for b, t in zip(buffers, total, strict=True)]


def by_breadth(buffers: Sequence[Buffer], near: Neighbours) -> list[Key]:
    """Those alive where most is alive first, biggest first.

    A lifetime's busiest position is where a neighbour or the buffer itself starts; that of the
    neighbours' starts is taken as far as these lie within it.
    """
    change: dict[int, int] = {}
    for b in buffers:
        if b.lives:
            change[b.first] = change.get(b.first, 0) + b.size
            change[b.last + 1] = change.get(b.last + 1, 0) - b.size
    live, breadth = 0, dict[int, int]()
    for t in sorted(change):
        live += change[t]
        breadth[t] = live
    keys: list[Key] = []
    for b, js in zip(buffers, near, strict=True):
        starts = [buffers[j].first for j in js if buffers[j].first >= b.first]
        busiest = max((breadth.get(t, 0) for t in (b.first, *starts)), default=0)
        keys.append((-busiest, -b.size, b.first))
    return keys


ORDERS: tuple[Order, ...] = (by_size, by_length, by_area, by_breadth, by_contention)
