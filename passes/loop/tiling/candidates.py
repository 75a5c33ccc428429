"""Tile sizes to try: near-even splits of every dimension, and what keeps windows and boxes whole.

56 rows        56, 28, 19, 14, 10, 7, 5, 4, 3, 2, 1
768 columns    768, 384, 256, 192, 128, 64, 32, 24, 16, ...     (blocks of 16 above one block)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....backends.targets.machine import Machine
from ....dialects.npu.isa import WINDOWS
from ....dialects.sparsity import GROUP
from .classify import takes_windows
from .footprint import near_even
from .work import Work

MAX_COMBINATIONS = 16_000
MOST_FINE = 4096
"""Tiles of one dimension up to which every number of them is tried in the end."""
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 4096)


@dataclass(frozen=True)
class Attempt:
    """What tiles may be: `slots` for buffers in loops; windows whole or split; axes made small.

    `small`: output axes of several dimensions are tiled along their inner dimension.
    """

    slots: int
    whole_windows: bool = False
    small: bool = False


LARGE_WINDOW = 64
"""Taps from which on splitting a window is considered even where it fits whole."""


def candidates(
    work: Work, dim: int, machine: Machine, attempt: Attempt, fine: bool = False
) -> list[int]:
    """Tile sizes to try for one dimension, largest first; `fine`: all near-even ones."""
    sizes = _candidates(work, dim, machine, attempt, fine)
    return [s for s in sizes if s % GROUP == 0] if dim == work.sparse else sizes


def _candidates(work: Work, dim: int, machine: Machine, attempt: Attempt, fine: bool) -> list[int]:
    extent = work.domain[dim]
    if dim in (given := dict(work.given)):
        return [given[dim]]
    if (dim in work.fixed and not attempt.small) or (attempt.whole_windows and dim in work.roles.k):
        return [extent]
    if dim in work.unit or extent == 1 or (attempt.small and dim in work.small):
        return [1]
    if dim in work.exact:
        return [t for t in range(extent, 0, -1) if extent % t == 0]
    part = work.roles
    if dim in part.k and dim != max(part.k, key=lambda d: (work.domain[d], d)):
        return [extent, 1]  # kernel dimensions are split completely or not at all
    counts = range(1, min(extent, MOST_FINE) + 1) if fine else _COUNTS
    sizes = {near_even(extent, c) for c in counts if c <= extent} | {1}
    block = machine.vector.lanes if dim == work.inner else 1
    if dim == work.inner and takes_windows(work.kind, machine):
        block = max(block, machine.matrix.window_channels)
    if work.kind == "matmul" and dim in part.n[-1:]:
        block = machine.matrix.columns
    elif work.kind == "matmul" and dim in part.k:
        block = machine.unit(work.sparse is not None).rows
    # above one block only multiples of it: ragged blocks cost as much as whole ones
    sizes = {s if s < block or s == extent else -(-s // block) * block for s in sizes}
    return sorted((s for s in sizes if s <= extent), reverse=True)


def grid(work: Work, machine: Machine, attempt: Attempt) -> list[Any]:
    """One array per dimension: the tile sizes of every combination."""
    lists = [candidates(work, d, machine, attempt) for d in range(len(work.domain))]
    while np.prod([float(len(c)) for c in lists]) > MAX_COMBINATIONS:
        longest = max(range(len(lists)), key=lambda d: len(lists[d]))
        values = lists[longest]
        lists[longest] = [*values[:-1][::2], values[-1]] if len(values) > 2 else values[-1:]
    mesh = np.meshgrid(*(np.array(c, np.int64) for c in lists), indexing="ij")
    return [m.reshape(-1) for m in mesh]


def neighbours(work: Work, machine: Machine, attempt: Attempt, tile: Sequence[int]) -> list[Any]:
    """One array per dimension: `tile` with all sizes of one dimension after the other."""
    rows = [
        (*tile[:d], size, *tile[d + 1 :])
        for d in range(len(tile))
        for size in candidates(work, d, machine, attempt, fine=True)
    ]
    return list(np.array(rows, np.int64).T)


def attempts(work: Work) -> Iterator[Attempt]:
    """In order of preference."""
    taps = math.prod(work.domain[d] for d in work.roles.k)
    if work.kind in WINDOWS and taps < LARGE_WINDOW:
        yield Attempt(2, whole_windows=True)
        yield Attempt(1, whole_windows=True)
    yield Attempt(2)
    yield Attempt(1)
    if work.small:
        yield Attempt(1, small=True)
