"""Placing buffers on a skyline, bottom up: no pairs of buffers are looked at.

The skyline is how high memory is taken at each time.  At its lowest stretch, of those buffers whose
whole lifetime falls into it one is placed there; if there is none, the stretch rises to its lower
neighbour and joins it (Burke, Kendall and Whitwell's best fit for strip packing; Sekiyama et al.,
Profile-guided Memory Optimization for Deep Neural Networks, 2018, for lifetimes).

    height        c c                 lowest: times 4-5, where only e fits; then 2-3, which d does
      ^     a a a a . . .             not fit, so that it rises to the height of a
      |     a a b b . . f -> time
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .buffers import Buffer


@dataclass(eq=False, slots=True)
class _Stretch:
    """Times `first` to `last` at which the skyline is at `height`; in a list ordered by time."""

    first: int
    last: int
    height: int
    before: _Stretch | None = None
    after: _Stretch | None = None
    gone: bool = False


class _Skyline:
    def __init__(self, first: int, last: int):
        self._heap: list[tuple[int, int, int, _Stretch]] = []
        self._count = 0
        self._push(_Stretch(first, last, 0))

    def _push(self, stretch: _Stretch) -> None:
        self._count += 1
        heapq.heappush(self._heap, (stretch.height, stretch.first, self._count, stretch))

    def lowest(self) -> _Stretch:
        """The lowest stretch, the earliest of equals; it leaves the heap."""
        while (stretch := heapq.heappop(self._heap)[-1]).gone:
            pass
        return stretch

    def replace(self, old: _Stretch, parts: Sequence[tuple[int, int, int]]) -> None:
        """Put (first, last, height) in place of `old`, joined with neighbours as high."""
        before, after = old.before, old.after
        old.gone = True
        first, last, height = parts[0]
        if before is not None and before.height == height:
            before.gone = True
            first, before = before.first, before.before
        made = [(first, last, height), *parts[1:]]
        first, last, height = made[-1]
        if after is not None and after.height == height:
            after.gone = True
            last, after = after.last, after.after
            made[-1] = (first, last, height)
        for part in made:
            stretch = _Stretch(*part, before=before)
            if before is not None:
                before.after = stretch
            self._push(stretch)
            before = stretch
        assert before is not None
        before.after = after
        if after is not None:
            after.before = before


FEW = 64
"""Buffers up to which a loop is quicker than numpy."""
PREFERENCES = ("length", "area")
"""Which of the buffers that fit goes first: longest-lived, or largest size times length."""


def on_skyline(buffers: Sequence[Buffer], prefer: str) -> list[int]:
    """Offsets; there must be no fixed buffers."""
    offsets = [0] * len(buffers)
    alive = (i for i, b in enumerate(buffers) if b.lives)
    order = sorted(alive, key=lambda i: (buffers[i].first, i))
    if not order:
        return offsets
    first = [buffers[i].first for i in order]
    rest = _Rest([buffers[i] for i in order], prefer)
    skyline = _Skyline(first[0], max(buffers[i].last for i in order))
    left = len(order)
    while left:
        here = skyline.lowest()
        low, high = bisect_left(first, here.first), bisect_right(first, here.last)
        chosen = rest.take(low, high, here.last)
        if chosen is None:
            beside = [s.height for s in (here.before, here.after) if s is not None]
            skyline.replace(here, [(here.first, here.last, min(beside))])
            continue
        left -= 1
        b, at = buffers[order[chosen]], here.height
        offsets[order[chosen]] = at
        parts = [
            (here.first, b.first - 1, at),
            (b.first, b.last, at + b.size),
            (b.last + 1, here.last, at),
        ]
        skyline.replace(here, [p for p in parts if p[0] <= p[1]])
    return offsets


class _Rest:
    """Buffers that are not placed yet, by position in the order of their starts."""

    def __init__(self, buffers: Sequence[Buffer], prefer: str):
        length = np.array([b.last - b.first + 1 for b in buffers], np.float64)
        size = np.array([b.size for b in buffers], np.float64)
        worth = length if prefer == "length" else length * size
        ranks = np.lexsort((-np.arange(len(buffers)), size, worth)).argsort()
        self._worth, self._worths = ranks, [int(r) for r in ranks]
        self._lasts = [b.last for b in buffers]
        self._last = np.array(self._lasts)

    def take(self, low: int, high: int, last: int) -> int | None:
        """The one worth most of positions `low` to `high` that ends by `last`, if any."""
        if high - low <= FEW:
            best, chosen = -1, -1
            for i in range(low, high):
                if self._worths[i] > best and self._lasts[i] <= last:
                    best, chosen = self._worths[i], i
        else:
            fits = np.where(self._last[low:high] <= last, self._worth[low:high], -1)
            chosen = low + int(fits.argmax())
            best = int(fits[chosen - low])
        if best < 0:
            return None
        self._worths[chosen] = self._worth[chosen] = -1
        return chosen
