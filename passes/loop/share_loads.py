"""Load once what several cores need: each core loads a part and sends it to the others.

    loop.copy load %w[] tile %wt                      (in all four cores)

becomes

    %part = loop.subview %wt[%core] at (d0) -> (d0 * 9216) : memref<36864xi8> -> memref<9216xi8>
    loop.copy load %w[%core] at (d0) -> (d0 * 9216) tile %part broadcast

DRAM is read once instead of once per core.  Loads at the top level of a core loop are shared by
the cores along the levels of the grid that they do not depend on (weights of a nest that is divided
by rows of pixels and columns of channels: by the cores of a column), where an axis divides evenly
and the part is worth a transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import ModuleOp

from ...dialects.loop import AllocOp, CopyOp, ForOp, Linear, ReshapeOp, SubviewOp
from ...dialects.types import element_of, int_values, memref, numpy_dtype, shape_of
from ..base import CompilerContext, Pass
from .cores import core_loops, counts
from .tile_npu import npu_segments

LEAST = 256
"""Bytes of a part from which sharing pays."""


@dataclass(frozen=True)
class ShareLoadsPass(Pass):
    """Let each core load a part of what all need, and broadcast it."""

    name = "share-loads"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Share loads in every segment of several cores."""
        for func in npu_segments(module):
            loops = core_loops(func)
            for op in list(loops[-1].body.block.ops) if loops else ():
                if isinstance(op, CopyOp) and op.kind.data == "load":
                    share(op, loops)


def share(op: CopyOp, loops: Sequence[ForOp]) -> None:
    """Divide one load among the cores that do the same, if some axis divides evenly."""
    same = [i for i, loop in enumerate(loops) if loop.iv not in op.ivs]
    sizes, shape = counts(loops), shape_of(op.tile)
    cores = prod(sizes[i] for i in same)
    item = numpy_dtype(element_of(op.tile)).itemsize
    axis = next((k for k, n in enumerate(shape) if n % cores == 0), None)
    if (
        axis is None
        or cores == 1
        or prod(shape) * item // cores < LEAST
        or not isinstance(op.tile.owner, AllocOp | ReshapeOp)
    ):
        return
    part = shape[axis] // cores
    box = [part if k == axis else n for k, n in enumerate(shape)]
    ivs = [loops[i].iv for i in same]
    weights = {i: prod(sizes[j] for j in same[i + 1 :]) for i in range(len(same))}  # its number
    rows = [_times(weights, part) if k == axis else {} for k in range(len(shape))]
    type = memref(box, element_of(op.tile), "spm")
    view = SubviewOp(op.tile, ivs, Linear.of(rows, len(ivs)), type)
    perm, steps = int_values(op.perm), int_values(op.steps)
    start, before = op.start, len(op.ivs)
    rows = [dict(enumerate(row)) for row in start.coeffs]
    for i, a in _times(weights, part * steps[perm[axis]]).items():
        rows[perm[axis]][before + i] = a
    coords = Linear.of(rows, before + len(ivs), start.consts)
    load = CopyOp(
        "load", op.big, view.result, [*op.ivs, *ivs], coords,
        perm=perm, steps=steps, fill=op.fill_number,
        broadcast=0 if len(same) == len(loops) else sum(1 << i for i in same),
    )  # fmt: skip
    block = op.parent_block()
    assert block is not None
    for new in (view, load):
        new.location = op.location
        block.insert_op_before(new, op)
    op.detach()
    op.erase()


def _times(row: dict[int, int], factor: int) -> dict[int, int]:
    return {i: a * factor for i, a in row.items()}


PASS = ShareLoadsPass
