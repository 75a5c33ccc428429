"""Quantities of all candidates at once are those of each one's boxes."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings

from support.npu_passes import target
from support.random_machines import machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets import cycles
from tilewright.backends.targets.machine import Machine
from tilewright.passes.loop.tiling.candidates import attempts, grid
from tilewright.passes.loop.tiling.footprint import tile_box
from tilewright.passes.loop.tiling.tiles import (
    accesses,
    boxes,
    moved_bytes,
    repeats,
    strides,
    tile_bytes,
)

from .test_selection import product, works


@settings(max_examples=60, deadline=None)
@given(segments(), machines())
def test_boxes_are_those_of_the_tiler(segment: Segment, machine: Machine) -> None:
    for work in works(segment, machine):
        tiles = grid(work, machine, next(attempts(work)))
        for operand in (*work.reads, work.output):
            found = boxes(operand, tiles)
            held = tile_bytes(operand, found, 1)
            moved = moved_bytes(operand, found, 64)
            for i in range(0, len(tiles[0]), max(1, len(tiles[0]) // 7)):
                box = tile_box(operand.map, [int(t[i]) for t in tiles]).box
                assert tuple(int(np.broadcast_to(b, tiles[0].shape)[i]) for b in found) == box
                assert int(np.broadcast_to(held, tiles[0].shape)[i]) == operand.bytes * prod(box)
            assert (np.asarray(moved) > 0).all()


@settings(max_examples=60, deadline=None)
@given(segments(), machines())
def test_accesses_are_those_of_the_timing_rules(segment: Segment, machine: Machine) -> None:
    for work in works(segment, machine):
        tiles = grid(work, machine, next(attempts(work)))
        dims, width = range(len(work.domain)), machine.scratchpad.width
        for operand in work.reads:
            steps = strides(operand, tiles, dims)
            found = np.broadcast_to(accesses(operand, tiles, dims, width), tiles[0].shape)
            for i in range(0, len(tiles[0]), max(1, len(tiles[0]) // 7)):
                one = [
                    (int(t[i]), operand.bytes * int(np.broadcast_to(s, tiles[0].shape)[i]))
                    for t, s in zip(tiles, steps, strict=True)
                ]
                assert found[i] == cycles.accesses(one, operand.bytes, width)


@pytest.mark.parametrize(("order", "expected"), [((0, 1, 2), [4, 8]), ((1, 0, 2), [8, 2])])
def test_loads_repeat_in_the_loops_around_them(order: tuple[int, ...], expected: list[int]) -> None:
    """4 x 2 x 3 tiles of m, n, k; a reduction in the innermost loop repeats both operands."""
    (work,) = works(product(64, 32, 48), target("gemmini-16x16"))
    counts = [np.array([n]) for n in (4, 2, 3)]
    found = [int(repeats(o, order, counts)[0]) for o in work.reads[:2]]
    assert found == [24, 24]
    whole = [np.array([n]) for n in (4, 2, 1)]
    kept = [int(repeats(o, order, whole)[0]) for o in work.reads[:2]]
    assert kept == expected
