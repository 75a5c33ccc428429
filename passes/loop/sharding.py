"""Shards: every core has its own images of a batch, from the first nest of a segment to the last.

    loop.nest domain [8, 56, 56, 64, ..] ins(%x, %w) outs(%y)
    loop.nest domain [8, 56, 56, 64, 3, 3, ..] ins(%y, %v) outs(%z)

On four cores, each computes two images of %y and of %z and needs nothing of the others.  Rows are
those of the first axis with more than one element, so that a shard is contiguous however a tensor
is reshaped.  Constants are the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from ...dialects.loop import AllocOp, GlobalOp, Linear, NestOp, ReshapeOp, SubviewOp
from ...dialects.types import element_of, int_values, memref, shape_of
from .cores import SHARDED, core_loops, counts, split_of, top_block
from .stripes import row_axis


def shards(nests: Sequence[NestOp], cores: int) -> dict[NestOp, int] | None:
    """The dimension of each nest that is divided; None if some nest cannot be."""
    out: dict[NestOp, int] = {}
    for nest in nests:
        *reads, output = nest.linear_maps
        dim = _dim(output, nest.sizes, shape_of(nest.output))
        if dim is None or dim in nest.reduced or nest.sizes[dim] % cores:
            return None
        if not all(
            isinstance(x.owner, GlobalOp) or _dim(map, nest.sizes, shape_of(x)) == dim
            for map, x in zip(reads, nest.reads, strict=True)
        ):
            return None
        out[nest] = dim
    return out


def own_rows(nest: NestOp, value: SSAValue) -> bool:
    """Whether a core's part of a divided nest touches the same part of all rows of a tensor.

    Not if the nest is a stripe of it (cascade): then other rows are each core's in the next.
    """
    shape = shape_of(value)
    axis, dim = row_axis(shape), split_of(nest)[0]
    return all(
        shape[axis] == nest.sizes[dim] and not map.consts[axis]
        for map, x in zip(nest.linear_maps, (*nest.reads, nest.output), strict=True)
        if x is value
    )


def _dim(map: Linear, sizes: Sequence[int], shape: Sequence[int]) -> int | None:
    """The dimension that runs along the rows of a tensor, one by one, and along nothing else."""
    if not shape:
        return None
    axis = row_axis(shape)
    alone = [d for d, a in enumerate(map.coeffs[axis]) if a]
    elsewhere = {d for k, row in enumerate(map.coeffs) if k != axis for d, a in enumerate(row) if a}
    low, high = map.bounds(sizes)[axis]
    # a border along an axis of one element in front of the rows would make it the axis of the rows
    bordered = any(low < 0 or high > 0 for low, high in map.bounds(sizes)[:axis])
    if len(alone) != 1 or alone[0] in elsewhere or bordered or low < 0 or high >= shape[axis]:
        return None
    return alone[0] if map.coeffs[axis][alone[0]] == 1 else None


def shrink(func: FuncOp) -> None:
    """Reduce resident tensors of a tiled segment to the rows that a core holds."""
    cores = prod(counts(core_loops(func)))
    for op in list(top_block(func).ops):
        if isinstance(op, AllocOp) and SHARDED in op.attributes:
            assert op.offset is not None
            new = AllocOp(_part(op.result, cores), offset=op.offset.value.data)
            new.location = op.location
            new.result.name_hint = op.result.name_hint
            block = op.parent_block()
            assert block is not None
            block.insert_op_before(new, op)
            _replace(op.result, new.result, cores)
            op.detach()
            op.erase()


def _part(value: SSAValue, cores: int) -> Any:
    """The type of a core's rows."""
    shape = list(shape_of(value))
    shape[row_axis(shape)] //= cores
    return memref(shape, element_of(value), "spm")


def _replace(old: SSAValue, new: SSAValue, cores: int) -> None:
    """Let what uses a tensor use a core's rows, which all views but those of borders lie in."""
    axis = row_axis(shape_of(old))
    for op in [use.operation for use in old.uses]:
        if isinstance(op, ReshapeOp):
            made = ReshapeOp(new, _part(op.result, cores))
        elif isinstance(op, SubviewOp):
            box = list(shape_of(op.result))
            box[axis] = min(box[axis], shape_of(new)[axis])
            type = memref(box, element_of(old), "spm")
            made = SubviewOp(new, list(op.ivs), op.start, type, int_values(op.steps))
        else:
            raise AssertionError(f"{op.name} uses a shard as a whole")
        made.location = op.location
        made.result.name_hint = op.result.name_hint
        block = op.parent_block()
        assert block is not None
        block.insert_op_before(made, op)
        if isinstance(op, ReshapeOp):
            _replace(op.result, made.result, cores)
        else:
            op.result.replace_all_uses_with(made.result)
        op.detach()
        op.erase()
