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
from .cores import SHARDED, core_loops, counts, top_block
from .stripes import row_axis, row_dim


def shards(nests: Sequence[NestOp], cores: int) -> dict[NestOp, int] | None:
    """The dimension of each nest that is divided; None if some nest cannot keep to its shard."""
    out: dict[NestOp, int] = {}
    for nest in nests:
        dim = row_dim(nest)
        if dim is None or nest.sizes[dim] % cores:
            return None
        if not all(
            isinstance(x.owner, GlobalOp) or _own_rows(map, x, dim, nest.sizes)
            for map, x in zip(nest.linear_maps, nest.reads, strict=False)
        ):
            return None
        out[nest] = dim
    return out


def _own_rows(map: Linear, x: SSAValue, dim: int, sizes: Sequence[int]) -> bool:
    """Whether a part of `dim` reads the same part of the rows of `x`, no border before them."""
    shape = shape_of(x)
    axis = row_axis(shape)
    if not shape or shape[axis] != sizes[dim] or map.consts[axis]:
        return False
    alone = list(map.coeffs[axis]) == [int(d == dim) for d in range(map.num_dims)]
    elsewhere = any(row[dim] for k, row in enumerate(map.coeffs) if k != axis)
    # a border along an axis of one element in front of the rows would make it the axis of the rows
    bordered = any(low < 0 or high > 0 for low, high in map.bounds(sizes)[:axis])
    return alone and not elsewhere and not bordered


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
