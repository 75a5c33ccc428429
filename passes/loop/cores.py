"""The core levels of a segment: loops around all of it whose iterations are the cores.

    func.func @npu_segment_0() {
      loop.for %row = 0 to 2 step 1 {
        loop.for %column = 0 to 2 step 1 {
          ...
          loop.nest ... {split = array<i64: 1, 3>}
        } {cores}
      } {cores}
    }

The cores form a grid.  A nest is divided among its rows along one dimension of the domain and among
its columns along another, or the same one.  `distribute` makes all this; passes that order what
stands at the top level work on the innermost body.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, cast

from xdsl.dialects.builtin import DenseArrayBase
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block

from ...dialects.loop import ForOp, NestOp
from ...dialects.types import int_values

CORES = "cores"
"""Attribute of core loops."""
SPLIT = "split"
"""Attribute of nests: for each core loop the dimension of the domain that it divides."""


BLOCKED = "blocked"
"""Attribute of divided nests: the part of a core is one block, or that of a row of the grid is,
whose cores take its tiles in turn, where both levels divide one dimension.  Tiles of other nests go
round all cores: a tile of all cores together is one box, which nests with windows start on."""


SHARDED = "sharded"
"""Attribute of divided nests, and of tensors on chip, of which each core has one block of rows, the
same of all tensors but constants: nobody else reads it.  A core holds its own rows only."""


def core_grid(cores: int) -> tuple[int, ...]:
    """Extents of the core loops for a number of cores: as square as it divides."""
    inner = max(d for d in range(1, isqrt(cores) + 1) if cores % d == 0)
    return (cores // inner, inner) if inner > 1 else (cores,)


def core_loops(func: FuncOp) -> list[ForOp]:
    """The core levels, outermost first; none for a segment that runs on one core."""
    out: list[ForOp] = []
    block = func.body.block
    while isinstance(loop := block.first_op, ForOp) and CORES in loop.attributes:
        out.append(loop)
        block = loop.body.block
    return out


def top_block(func: FuncOp) -> Block:
    """The block whose operations are the segment's, in order."""
    loops = core_loops(func)
    return loops[-1].body.block if loops else func.body.block


def counts(loops: Sequence[ForOp]) -> tuple[int, ...]:
    """Iterations of each core loop."""
    return tuple(len(loop.values) for loop in loops)


def among(split: Sequence[int], cores: Sequence[int]) -> dict[int, int]:
    """Among how many cores a split divides each of its dimensions; `cores`: extents of the grid."""
    out: dict[int, int] = {}
    for d, count in zip(split, cores, strict=False):
        out[d] = out.get(d, 1) * count
    return out


def core_counts(nest: NestOp, cores: Sequence[int]) -> dict[int, int]:
    """Among how many cores each dimension of a divided nest is divided."""
    return among(split_of(nest), cores)


def in_turn(nest: NestOp, cores: Sequence[int]) -> dict[int, int]:
    """Among how many cores that take tiles in turn each dimension of a nest is divided."""
    split, out = split_of(nest), dict[int, int]()
    if SHARDED in nest.attributes:
        return out
    for i, (d, count) in enumerate(zip(split, cores, strict=False)):
        if BLOCKED not in nest.attributes or d in split[:i]:
            out[d] = out.get(d, 1) * count
    return out


def padded_extent(extent: int, cores: int) -> int:
    """The next multiple of the number of cores: what a dimension that is divided is padded to."""
    return -(-extent // cores) * cores


def split_of(nest: NestOp) -> tuple[int, ...]:
    """The dimension that each core loop divides; empty for a nest that every core computes."""
    attr = nest.attributes.get(SPLIT)
    if not isinstance(attr, DenseArrayBase):
        return ()
    return int_values(cast(DenseArrayBase[Any], attr))
