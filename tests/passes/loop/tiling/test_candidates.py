"""Which tile sizes are tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings

from support.npu_passes import target
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.passes.loop.tiling.candidates import (
    MAX_COMBINATIONS,
    attempts,
    candidates,
    grid,
    neighbours,
)

from .test_selection import product, works

GEMMINI = target("gemmini-16x16")


@settings(max_examples=60, deadline=None)
@given(segments(), machines())
def test_sizes_are_within_the_domain(segment: Segment, machine: Machine) -> None:
    for work in works(segment, machine):
        for attempt in attempts(work):
            tiles = grid(work, machine, attempt)
            assert 0 < len(tiles[0]) <= MAX_COMBINATIONS
            for d, extent in enumerate(work.domain):
                assert (tiles[d] >= 1).all() and (tiles[d] <= extent).all()
                fine = candidates(work, d, machine, attempt, fine=True)
                assert set(candidates(work, d, machine, attempt)) <= set(fine)


def test_columns_come_in_whole_blocks() -> None:
    """40 columns on an array of 16: more than a block are 32, or all."""
    (work,) = works(product(20, 40, 24), GEMMINI)
    sizes = candidates(work, 1, GEMMINI, next(attempts(work)))
    assert [s for s in sizes if s > 16] == [40, 32]


def test_a_grid_is_thinned_but_keeps_its_ends() -> None:
    (work,) = works(product(4096, 4096, 4096), GEMMINI)
    many = replace(work, domain=tuple(n * 16 for n in work.domain))
    attempt = next(attempts(many))
    tiles = grid(many, GEMMINI, attempt)
    assert len(tiles[0]) <= MAX_COMBINATIONS
    assert all(t.min() == 1 or t.min() < 64 for t in tiles)
    assert [int(t.max()) for t in tiles] == list(many.domain)


def test_neighbours_differ_in_one_dimension() -> None:
    (work,) = works(product(60, 40, 24), GEMMINI)
    tile = (30, 40, 24)
    rows = np.stack(neighbours(work, GEMMINI, next(attempts(work)), tile), axis=1)
    assert ((rows != np.array(tile)).sum(axis=1) <= 1).all()
    assert {15, 12, 10} <= set(rows[:, 0].tolist())
