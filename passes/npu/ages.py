"""Addresses that let loads run ahead: a buffer takes the place of the one that died longest ago.

A buffer over another waits until that one's last reader is done.  When loads run far ahead of the
computation, reusing what was freed just now would hold them up; so memory is used in turn, as a
ring buffer would be.

    %a of layer 1 | %b of layer 2 | free          ->   %c of layer 3 goes to the free part, then
                                                       %d of layer 4 over %a
"""

from __future__ import annotations

from collections.abc import Sequence

from .banks import Buffer


def place_by_age(buffers: Sequence[Buffer], pinned: Sequence[Buffer], capacity: int) -> bool:
    """Addresses for `buffers` beside `pinned` ones; False, and none, if one finds no room.

    In order of first use; memory is a list of segments [low, high) with the operation that used
    them last.
    """
    segments: list[tuple[int, int, int]] = [(0, capacity, -1)]
    limits = sorted((p for p in pinned), key=lambda p: p.first)
    for buffer in sorted(buffers, key=lambda b: (b.first, -b.total)):
        top = min([capacity, *(p.addresses[0] for p in limits if p.meets(buffer))])
        start = _oldest(segments, buffer, top)
        if start is None:
            for b in buffers:
                b.addresses = []
            return False
        buffer.addresses = [start + i * buffer.size for i in range(buffer.slots)]
        segments = _occupy(segments, start, start + buffer.total, buffer.last)
    return True


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
