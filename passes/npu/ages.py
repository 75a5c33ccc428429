"""Addresses that let loads run ahead: a buffer takes the place of the one that died longest ago.

A buffer over another waits until that one's last reader is done.  When loads run far ahead of the
computation, reusing what was freed just now would hold them up; so memory is used in turn, as a
ring buffer would be.

    %a of layer 1 | %b of layer 2 | free          ->   %c of layer 3 goes to the free part, then
                                                       %d of layer 4 over %a
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .banks import Buffer

MAX_SEGMENTS = 256
"""Parts of memory told apart by age: with more, dead neighbours become one."""


def place_by_age(buffers: Sequence[Buffer], pinned: Sequence[Buffer], capacity: int) -> bool:
    """Addresses for `buffers` beside `pinned` ones; False, and none, if one finds no room.

    In order of first use; memory is a list of segments [low, high) with the operation that used
    them last.
    """
    segments: list[tuple[int, int, int]] = [(0, capacity, -1)]
    room = np.full(max((b.last for b in (*buffers, *pinned)), default=0) + 1, capacity, np.int64)
    for p in pinned:
        room[p.first : p.last + 1] = np.minimum(room[p.first : p.last + 1], p.addresses[0])
    for buffer in sorted(buffers, key=lambda b: (b.first, -b.total)):
        if len(segments) > MAX_SEGMENTS:
            segments = _join(segments, buffer.first)
        start = _oldest(segments, buffer, int(room[buffer.first : buffer.last + 1].min()))
        if start is None:
            for b in buffers:
                b.addresses = []
            return False
        buffer.addresses = [start + i * buffer.size for i in range(buffer.slots)]
        segments = _occupy(segments, start, start + buffer.total, buffer.last)
    return True


def _join(segments: Sequence[tuple[int, int, int]], now: int) -> list[tuple[int, int, int]]:
    """The segments with neighbours joined that are both dead at `now`; as old as the younger."""
    out: list[tuple[int, int, int]] = []
    for low, high, last in segments:
        if out and last < now and out[-1][2] < now:
            out[-1] = out[-1][0], high, max(last, out[-1][2])
        else:
            out.append((low, high, last))
    return out


def _oldest(segments: Sequence[tuple[int, int, int]], buffer: Buffer, top: int) -> int | None:
    """Where `buffer` fits over the oldest dead ones; the lowest place of equals."""
    best: tuple[int, int] | None = None
    for i, (low, _, _) in enumerate(segments):
        end = low + buffer.total
        if end > top:
            break
        age = -1
        for _, high, last in segments[i:]:
            age = max(age, last)
            if high >= end or age >= buffer.first:
                break
        if age < buffer.first and (best is None or age < best[0]):
            best = age, low
    return None if best is None else best[1]


def _occupy(
    segments: Sequence[tuple[int, int, int]], low: int, high: int, last: int
) -> list[tuple[int, int, int]]:
    """The segments with [low, high) used last by operation `last`."""
    out: list[tuple[int, int, int]] = []
    for a, b, old in segments:
        if a < low:
            out.append((a, min(b, low), old))
        if a <= low < b:
            out.append((low, high, last))
        if b > high:
            out.append((max(a, high), b, old))
    return out
