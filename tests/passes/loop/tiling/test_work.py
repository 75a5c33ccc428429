"""work: what cores share of a nest's operands, what a core's part is, and bands of its results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import UnitAttr

from support.npu_passes import target
from support.random_chains import rows
from support.segments import Segment
from tilewright.dialects.loop import Linear, NestOp
from tilewright.dialects.types import ints
from tilewright.passes.loop.cores import BLOCKED, SPLIT, in_turn
from tilewright.passes.loop.tiling.tiles import bands
from tilewright.passes.loop.tiling.work import analyse, part_sizes, shared

from .test_selection import product, works


@pytest.mark.parametrize(
    ("dims", "split", "expected"),
    [
        ((0, 2), (), 6),  # all compute all
        ((0, 2), (0, 1), 2),  # rows of pixels are divided by the rows of the grid
        ((2, 1), (0, 1), 3),  # columns of weights by its columns
        ((2, 1), (0, 0), 6),
        ((0, 2), (0, 0), 1),
        ((1,), (1, 1), 1),
        ((), (0, 1), 6),
    ],
)
def test_cores_that_need_the_same(
    dims: tuple[int, ...], split: tuple[int, ...], expected: int
) -> None:
    """Of 3 x 2 cores: those along levels that divide what an operand does not depend on."""
    assert shared(Linear.of(rows(*dims), 3), split, (3, 2)) == expected


def look_up(shape: list[int], split: tuple[int, ...]) -> NestOp:
    s, same = Segment(), rows(*range(len(shape)))
    nest = s.nest(
        shape,
        [(s.buffer(shape), same, None, None)],
        (s.buffer(shape), same, None),
        accumulator=lambda k: k.table(k.block.args[0]),
    )
    nest.attributes[SPLIT], nest.attributes[BLOCKED] = ints(split), UnitAttr()
    return nest


@pytest.mark.parametrize(
    ("shape", "split", "cores", "expected"),
    [
        ([197, 64], (0, 0), (2, 2), (50, 64)),
        ([196, 64], (0, 0), (2, 2), (49, 64)),
        ([197, 64], (0, 1), (2, 2), (100, 32)),  # to 200, the next multiple of all cores
        ([198, 64], (0, 1), (2, 2), (99, 32)),
        ([11, 7], (0, 1), (3, 2), (4, 6)),
        ([11, 7], (), (3, 2), (11, 7)),
    ],
)
def test_parts(
    shape: list[int], split: tuple[int, ...], cores: tuple[int, int], expected: tuple[int, ...]
) -> None:
    nest = look_up(shape, split)
    assert part_sizes(nest, cores) == expected
    assert analyse(nest, target("auto-200"), cores).work.domain == expected


@pytest.mark.parametrize(
    ("height", "split", "blocked", "expected"),
    [
        (96, (0, 0), True, {0: 2}),  # a row of the grid has a block, whose tiles it takes in turn
        (96, (0, 1), True, {}),
        (96, (0, 1), False, {0: 3, 1: 2}),
        (96, (0, 0), False, {0: 6}),
        (96, (), False, {}),
    ],
)
def test_cores_that_take_tiles_in_turn(
    height: int, split: tuple[int, ...], blocked: bool, expected: dict[int, int]
) -> None:
    nest = look_up([height, 64], split)
    if not blocked:
        del nest.attributes[BLOCKED]
    assert in_turn(nest, (3, 2)) == expected


@given(st.integers(1, 300), st.integers(1, 12))
def test_parts_cover_everything(extent: int, cores: int) -> None:
    (part,) = part_sizes(look_up([extent], (0,)), (cores,))
    assert extent <= part * cores < extent + cores


def test_bands_of_products() -> None:
    """Columns have weights of their own, which are loaded ahead: any tiles are bands."""
    (work,) = works(product(8, 8, 8), target("gemmini-16x16"))
    tiles = [np.array([8, 4, 8, 1]), np.array([8, 8, 4, 4]), np.array([8] * 4)]
    assert bands(work, tiles).tolist() == [True] * 4


def test_bands_of_the_vector_unit_are_whole_rows() -> None:
    """Of 8 x 8: all, four rows, four columns of all rows, half a row at a time, quarters."""
    work = analyse(look_up([8, 8], ()), target("gemmini-16x16")).work
    tiles = [np.array([8, 4, 8, 1, 4]), np.array([8, 8, 4, 4, 4])]
    assert bands(work, tiles).tolist() == [True, True, False, True, False]
