"""Choosing tile sizes and loop order: a search over near-even splits, by a cost model.

Every combination of some tile sizes (at most 16,000) is judged at once with numpy (`model`): does
it fit, and how many cycles does it take.  From the best one the search goes on in steps, each to
the best size of one dimension among all near-even ones, until there is none better.  It can be
stopped at any time: every tiling it comes by states its cycles and a bound that none beats.

A contraction has two loop orders: weights stay while activations stream, or the other way round.
Buffers inside loops count twice (double buffering); if nothing fits, once.  Windows stay whole if
they are small and fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ....backends.targets.machine import Machine
from .candidates import attempts, grid, neighbours
from .model import Tiling, best_of, bound_cycles
from .work import Work

MOST_STEPS = 16
LEAST_GAIN = 1e-3
"""Of the cycles, for another step."""

_cache: dict[tuple[Work, str, int, bool], Tiling | None] = {}


def select(
    work: Work, machine: Machine, capacity: int | None = None, cold: bool = False
) -> Tiling | None:
    """The tiling of a nest for a machine; None if not even the smallest tiles fit.

    `capacity`: bytes of scratchpad it may use, when not all.  `cold`: nothing runs before it.
    """
    capacity = machine.scratchpad.bytes if capacity is None else capacity
    key = (work, repr(machine), capacity, cold)
    if key not in _cache:
        best: Tiling | None = None
        for tiling in improving(work, machine, capacity, cold):
            best = tiling
        if work.sparse is not None:
            dense = select(work.dense, machine, capacity, cold)
            if best is None or (dense is not None and dense.cycles < best.cycles):
                best = dense
        _cache[key] = best
    return _cache[key]


def improving(work: Work, machine: Machine, capacity: int, cold: bool = False) -> Iterator[Tiling]:
    """Ever better tilings of a nest, as the search finds them; none if nothing fits."""
    bound = bound_cycles(work, machine, cold)
    for attempt in attempts(work):
        tiles = grid(work, machine, attempt)
        best = best_of(work, machine, attempt.slots, capacity, cold, tiles)
        if best is None:
            continue
        for _ in range(MOST_STEPS):
            yield replace(best, bound=bound)
            tiles = neighbours(work, machine, attempt, best.tile)
            step = best_of(work, machine, attempt.slots, capacity, cold, tiles)
            if step is None or step.cycles >= best.cycles * (1 - LEAST_GAIN):
                return
            best = step
        return
