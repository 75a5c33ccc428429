"""Buffers with lifetimes, plans, and what bounds them.

A buffer is a rectangle: time runs from `first` to `last`, inclusive; addresses are to be found.
Buffers meet if their times do; those that meet must not share bytes (dynamic storage allocation).

    Buffer(first=0, last=1, size=128)    t 0 1 2        offsets (0, 128, 0): 192 bytes,
    Buffer(first=1, last=2, size=64)       a a .        the most alive at once
    Buffer(first=2, last=2, size=128)      . b b
                                           . . c
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """`size` units, alive from position `first` to `last`, inclusive; at offset `at` if given.

    A buffer with `last` before `first` is never alive and meets nothing.
    """

    first: int
    last: int
    size: int
    at: int | None = None

    @property
    def lives(self) -> bool:
        """Whether the buffer takes room at any time."""
        return self.size > 0 and self.last >= self.first


@dataclass(frozen=True)
class Plan:
    """An offset per buffer, and where the highest buffer ends."""

    offsets: tuple[int, ...]
    size: int


def end_of(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Where the highest living buffer ends."""
    return max((o + b.size for o, b in zip(offsets, buffers, strict=True) if b.lives), default=0)


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Most units alive at once, or the end of a fixed buffer: no plan is smaller."""
    events: list[tuple[int, int]] = []
    fixed = 0
    for b in buffers:
        if b.lives:
            events += [(b.first, b.size), (b.last + 1, -b.size)]
            fixed = max(fixed, (b.at or 0) + b.size)
    live = peak = 0
    for _, change in sorted(events):
        live += change
        peak = max(peak, live)
    return max(peak, fixed)


def neighbours(buffers: Sequence[Buffer], limit: int) -> list[list[int]] | None:
    """For each buffer those it meets; None if there are more than `limit` pairs."""
    out: list[list[int]] = [[] for _ in buffers]
    live: list[tuple[int, int]] = []
    pairs = 0
    alive = (i for i, b in enumerate(buffers) if b.lives)
    for i in sorted(alive, key=lambda i: (buffers[i].first, i)):
        while live and live[0][0] < buffers[i].first:
            heapq.heappop(live)
        pairs += len(live)
        if pairs > limit:
            return None
        for _, j in live:
            out[i].append(j)
            out[j].append(i)
        heapq.heappush(live, (buffers[i].last, i))
    return out
