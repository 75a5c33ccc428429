"""Proof that the slices of a program along one axis do not influence each other.

    x [batch, 3, h, w] --conv--> [batch, 16, h, w] --mean over h, w--> [batch, 16] --matmul--> ...

Starting from the inputs that have the axis, each operation says which axis of its result carries
it, or mixes it. Where all outputs carry it, computing more slices than asked for, and dropping
them, leaves the others as they are: padding a batch to a bucket is safe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import repeat

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from ...dialects.errors import InputError
from ...dialects.graph import (
    BatchNormOp,
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    ConvOp,
    GatherOp,
    MapOp,
    MatMulOp,
    PoolOp,
    ReduceOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
)
from ...dialects.locations import onnx_nodes
from ...dialects.types import int_values, shape_of
from ...passes.base import main_function

Axes = dict[SSAValue, int]
"""Which axis of a value carries the slices; absent where it does not depend on them."""


def same_but_for_extents(a: ModuleOp, b: ModuleOp, extents: tuple[int, int]) -> bool:
    """Whether imports for two extents compute the same, but for tensors that have the axis.

    A model that computes with the extent has other constants (it divides by the size of the
    batch) or other shapes (it keeps as many columns as the batch has rows).
    """
    ops, others = (list(main_function(m).body.block.ops) for m in (a, b))
    return len(ops) == len(others) and all(
        type(x) is type(y)
        and (not isinstance(x, MapOp | ConstantOp) or x.properties == y.properties)
        and (not isinstance(x, SliceOp) or x.starts == y.properties["starts"])
        and all(map(_same_shape, x.results, y.results, repeat(extents)))
        for x, y in zip(ops, others, strict=True)
    )


def _same_shape(a: SSAValue, b: SSAValue, extents: tuple[int, int]) -> bool:
    """Whether shapes differ in one axis at most, and there by the extents."""
    before, after = shape_of(a), shape_of(b)
    other = [pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]
    return len(before) == len(after) and other in ([], [extents])


def carried_axes(module: ModuleOp, starts: Mapping[int, int], name: str) -> list[int]:
    """For each output of a graph-level module, the axis that carries the slices.

    `starts` gives the axis of each argument that has it. InputError names the first node that
    mixes slices, or for which no proof is known; `name` is what the user calls the axis.
    """
    block = main_function(module).body.block
    axes: Axes = {block.args[i]: axis for i, axis in starts.items()}
    for op in block.ops:
        if isinstance(op, ReturnOp):
            break
        if isinstance(op, ConstantOp) or not any(o in axes for o in op.operands):
            continue
        axis = _axis(op, axes)
        if axis is None:
            raise InputError(
                f"{name!r} cannot be padded to buckets: no proof that its slices stay apart here",
                node=", ".join(onnx_nodes(op)) or None,
                hint="leave out --bucket for this dimension",
            )
        axes.update((result, axis) for result in op.results)
    last = block.last_op
    assert last is not None
    found = [axes.get(value) for value in last.operands]
    if None in found:
        raise InputError(f"{name!r} cannot be padded to buckets: an output does not have it")
    return [axis for axis in found if axis is not None]


def _axis(op: Operation, axes: Axes) -> int | None:
    """The axis of the result that carries the slices; None if they may be mixed."""
    match op:
        case MapOp() | CastOp():
            return _aligned(op, axes)
        case ConvOp() | PoolOp() | BatchNormOp() | ResizeOp():
            return 0 if axes.get(op.operands[0]) == 0 and _only(op, axes, 0) else None
        case SoftmaxOp():
            axis = axes[op.operands[0]]
            return axis if axis != op.axis.value.data else None
        case ReduceOp():
            return _reduced(axes[op.operands[0]], int_values(op.axes), op)
        case TransposeOp():
            return int_values(op.perm).index(axes[op.operands[0]])
        case ReshapeOp():
            return _reshaped(op, axes[op.operands[0]])
        case ConcatOp():
            found = {axes.get(o) for o in op.operands}
            axis = found.pop() if len(found) == 1 else None
            return None if axis == op.axis.value.data else axis
        case SliceOp():
            axis = axes[op.operands[0]]
            whole = shape_of(op.operands[0])[axis] == shape_of(op.results[0])[axis]
            return axis if whole and int_values(op.steps)[axis] == 1 else None
        case MatMulOp():
            return _product(op, axes)
        case GatherOp():
            return _gathered(op, axes)
        case BroadcastOp():
            return _aligned(op, axes)
        case _:
            return None


def _only(op: Operation, axes: Axes, index: int) -> bool:
    return all(o not in axes for i, o in enumerate(op.operands) if i != index)


def _aligned(op: Operation, axes: Axes) -> int | None:
    """Numpy broadcasting: all that carry agree, all others repeat along the axis."""
    rank = len(shape_of(op.results[0]))
    found = {rank - len(shape_of(o)) + axes[o] for o in op.operands if o in axes}
    if len(found) != 1:
        return None
    axis = found.pop()
    for operand in op.operands:
        shape = shape_of(operand)
        own = axis - (rank - len(shape))
        if operand not in axes and own >= 0 and shape[own] != 1:
            return None
        if operand in axes and shape[own] != shape_of(op.results[0])[axis]:
            return None
    return axis


def _reduced(axis: int, over: Sequence[int], op: Operation) -> int | None:
    if axis in over:
        return None
    kept = len(shape_of(op.results[0])) == len(shape_of(op.operands[0]))
    return axis if kept else axis - sum(a < axis for a in over)


def _reshaped(op: Operation, axis: int) -> int | None:
    """An axis is kept if as many elements lie before it, and its extent is the same."""
    before, after = shape_of(op.operands[0]), shape_of(op.results[0])
    ahead = math.prod(before[:axis])
    for candidate, extent in enumerate(after):
        if math.prod(after[:candidate]) == ahead and extent == before[axis]:
            return candidate
    return None


def _gathered(op: GatherOp, axes: Axes) -> int | None:
    """The axis of the indices, or one of the table that is not gathered from."""
    along, rank = op.axis.value.data, len(shape_of(op.indices))
    if op.x not in axes:
        return along + axes[op.indices]
    if op.indices in axes or axes[op.x] == along:
        return None
    return axes[op.x] if axes[op.x] < along else axes[op.x] + rank - 1


def _product(op: Operation, axes: Axes) -> int | None:
    """Rows of the first operand, or a batch axis of both."""
    a, b = op.operands[0], op.operands[1]
    if any(o in axes for o in op.operands[2:]):
        return None
    rank_a, rank_b, rank = (len(shape_of(v)) for v in (a, b, op.results[0]))
    at_a = axes[a] - rank_a if a in axes else None
    at_b = axes[b] - rank_b if b in axes else None
    if at_a is not None and at_a != -1 and at_b is None:
        if at_a < -2 and rank_b >= -at_a and shape_of(b)[at_a] != 1:
            return None
        return rank + at_a
    if at_a is not None and at_a == at_b and at_a < -2:
        return rank + at_a
    return None
