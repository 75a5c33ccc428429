"""Addresses that let loads run ahead: a buffer takes the place of the one that died longest ago.

A buffer over another waits until that one's last reader is done.  When loads run far ahead of the
computation, reusing what was freed just now would hold them up; so memory is used in turn, as a
ring buffer would be.

    %a of layer 1 | %b of layer 2 | free          ->   %c of layer 3 goes to the free part, then
                                                       %d of layer 4 over %a

Dead segments are kept by age, so that a place is found near the front however many live ones there
are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

import numpy as np

from .banks import Buffer

MAX_SEGMENTS = 256
"""Dead parts of memory told apart by age: with more, neighbours become one."""


def place_by_age(buffers: Sequence[Buffer], pinned: Sequence[Buffer], capacity: int) -> bool:
    """Addresses for `buffers` beside `pinned` ones; False, and none, if one finds no room.

    In order of first use.
    """
    memory, top = _Memory(capacity), _room(pinned, capacity)
    for buffer in sorted(buffers, key=lambda b: (b.first, -b.total)):
        memory.retire(buffer.first)
        start = memory.oldest(buffer.total, top(buffer.first, buffer.last))
        if start is None:
            for b in buffers:
                b.addresses = []
            return False
        buffer.addresses = [start + i * buffer.size for i in range(buffer.slots)]
        memory.occupy(start, start + buffer.total, buffer.last)
    return True


def _room(pinned: Sequence[Buffer], capacity: int) -> Callable[[int, int], int]:
    """The bytes below all pinned buffers alive from one operation to another, both included."""
    if not pinned:
        return lambda first, last: capacity
    end = max(p.last for p in pinned) + 1
    room = np.full(end + 1, capacity, np.int64)  # and what comes behind all of them
    for p in pinned:
        room[p.first : p.last + 1] = np.minimum(room[p.first : p.last + 1], p.addresses[0])
    spans = [room]  # spans[k][i]: the least from i on, 2 ** k operations
    while len(spans[-1]) > (width := 1 << len(spans) - 1):
        spans.append(np.minimum(spans[-1][:-width], spans[-1][width:]))

    def least(first: int, last: int) -> int:
        first, last = min(first, end), min(last, end)
        level = (last - first + 1).bit_length() - 1
        return int(min(spans[level][first], spans[level][last + 1 - (1 << level)]))

    return least


class _Memory:
    """Segments [low, high) of a memory with the operation that used them last."""

    def __init__(self, capacity: int):
        self.lows = [0]  # of all segments, ascending
        self.segments = {0: (capacity, -1)}  # (high, last) by low
        self.dead = [(-1, 0)]  # (last, low), ascending
        self.live: list[tuple[int, int]] = []  # the same as a heap
        self.limit = MAX_SEGMENTS

    def retire(self, now: int) -> None:
        """Count segments last used before operation `now` as dead."""
        while self.live and self.live[0][0] < now:
            insort(self.dead, heappop(self.live))
        if len(self.dead) > self.limit:
            self._join()
            self.limit = max(MAX_SEGMENTS, 2 * len(self.dead))  # live ones may keep them apart

    def _join(self) -> None:
        """Make dead neighbours one, as old as the younger."""
        dead, end = dict[int, tuple[int, int]](), -1
        for _, low in sorted(self.dead, key=lambda item: item[1]):
            high, last = self.segments.pop(low)
            if low == end:
                low, (_, before) = dead.popitem()
                last = max(last, before)
            dead[low] = high, last
            end = high
        self.segments |= dead
        self.lows = sorted(self.segments)
        self.dead = sorted((last, low) for low, (_, last) in dead.items())

    def oldest(self, size: int, top: int) -> int | None:
        """Where `size` bytes below `top` fit over the oldest dead segments; lowest of equals."""
        best: tuple[int, int] | None = None
        live = self.live[0][0] if self.live else None
        for last, low in self.dead:
            if best is not None and last > best[0]:
                break
            end, at, age = low + size, low, last
            if end > top:
                continue
            while at < end:
                at, used = self.segments[at]
                age = max(age, used)
                if (live is not None and age >= live) or (best is not None and age > best[0]):
                    break
            else:
                best = min(best or (age, low), (age, low))
        return None if best is None else best[1]

    def occupy(self, low: int, high: int, last: int) -> None:
        """Let operation `last` be the last that uses [low, high), which lies in dead segments."""
        first = bisect_right(self.lows, low) - 1
        behind = bisect_left(self.lows, high)
        kept = [(low, high, last)]
        for begin in self.lows[first:behind]:
            end, old = self.segments.pop(begin)
            del self.dead[bisect_left(self.dead, (old, begin))]
            if begin < low:
                kept.insert(0, (begin, low, old))
            if end > high:
                kept.append((high, end, old))
        for begin, end, used in kept:
            self.segments[begin] = end, used
            if begin == low:
                heappush(self.live, (used, begin))
            else:
                insort(self.dead, (used, begin))
        self.lows[first:behind] = [begin for begin, _, _ in kept]
