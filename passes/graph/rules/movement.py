"""Algebra of data movement: what composes, what cancels, what moves nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.graph import (
    BroadcastOp,
    ConcatOp,
    GatherOp,
    PadOp,
    ReduceOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    TransposeOp,
    quantization,
)
from ....dialects.types import element_of, int_values, shape_of, type_of
from .driver import Replacement, Rewriter, Rules

CONCAT_LIMIT = 64
"""Operands up to which nested concatenations are flattened."""


def is_identity(perm: Sequence[int]) -> bool:
    """Whether a permutation moves nothing."""
    return list(perm) == list(range(len(perm)))


def moves_only_ones(perm: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a permutation keeps the order of the axes longer than 1: a reshape."""
    kept = [p for p in perm if shape[p] != 1]
    return kept == sorted(kept)


def identity_transpose(op: TransposeOp, ctx: Rewriter) -> Replacement:
    """A transpose that moves nothing."""
    return op.x if is_identity(int_values(op.perm)) else None


def transpose_of_transpose(op: TransposeOp, ctx: Rewriter) -> Replacement:
    """Two transposes are one."""
    inner = op.x.owner
    if not isinstance(inner, TransposeOp):
        return None
    first = int_values(inner.perm)
    return compose(inner.x, [first[p] for p in int_values(op.perm)], op)


def compose(x: SSAValue, perm: Sequence[int], old: TransposeOp) -> Replacement:
    """The transpose of `x` that replaces `old`, or `x` itself."""
    if is_identity(perm) and x.type == old.result.type:
        return x
    return [TransposeOp(x, perm)]


def transpose_of_ones(op: TransposeOp, ctx: Rewriter) -> Replacement:
    """A transpose that moves only axes of extent 1 is a reshape."""
    encoding = quantization(op.x.type)
    if encoding is not None and encoding.axis_index is not None:
        return None
    ones = moves_only_ones(int_values(op.perm), shape_of(op.x))
    return [ReshapeOp(op.x, shape_of(op.result))] if ones else None


def reshape_to_same(op: ReshapeOp, ctx: Rewriter) -> Replacement:
    """A reshape that keeps the shape."""
    return op.x if op.x.type == op.result.type else None


def reshape_of_reshape(op: ReshapeOp, ctx: Rewriter) -> Replacement:
    """Only the last shape counts."""
    inner = op.x.owner
    if not isinstance(inner, ReshapeOp):
        return None
    if inner.x.type == op.result.type:
        return inner.x
    return [ReshapeOp(inner.x, shape_of(op.result))]


def broadcast_to_same(op: BroadcastOp, ctx: Rewriter) -> Replacement:
    """A broadcast that keeps the shape, or only prepends ones."""
    if op.x.type == op.result.type:
        return op.x
    if np.prod(shape_of(op.x)) == np.prod(shape_of(op.result)):
        return [ReshapeOp(op.x, shape_of(op.result))]
    inner = op.x.owner
    return [BroadcastOp(inner.x, shape_of(op.result))] if isinstance(inner, BroadcastOp) else None


def trivial_concat(op: ConcatOp, ctx: Rewriter) -> Replacement:
    """Concatenation of one operand; empty operands vanish; a nested one is flattened."""
    axis = op.axis.value.data
    args: list[SSAValue] = []
    for arg in op.args:
        inner = arg.owner
        if shape_of(arg)[axis] == 0:
            continue
        if isinstance(inner, ConcatOp) and _flattens(inner, op):
            args += inner.args
        else:
            args.append(arg)
    if len(args) == 1 and args[0].type == op.result.type:
        return args[0]
    if not args or len(args) == len(op.args):
        return None
    return [ConcatOp(args, axis)]


def _flattens(inner: ConcatOp, outer: ConcatOp) -> bool:
    """Whether the operands of `inner` may stand in `outer` themselves."""
    fits = inner.axis == outer.axis and inner.result.has_one_use()
    few = len(inner.args) + len(outer.args) <= CONCAT_LIMIT
    return fits and few and type_of(inner.result).encoding == type_of(outer.result).encoding


def whole_slice(op: SliceOp, ctx: Rewriter) -> Replacement:
    """A slice that takes everything."""
    return op.x if op.x.type == op.result.type and set(int_values(op.steps)) <= {1} else None


def slice_of_slice(op: SliceOp, ctx: Rewriter) -> Replacement:
    """start1 + (start2 + i step2) step1."""
    inner = op.x.owner
    if not isinstance(inner, SliceOp):
        return None
    starts, steps = int_values(inner.starts), int_values(inner.steps)
    return [
        SliceOp(
            inner.x,
            [a + b * s for a, b, s in zip(starts, int_values(op.starts), steps, strict=True)],
            int_values(op.sizes),
            [s * t for s, t in zip(steps, int_values(op.steps), strict=True)],
        )
    ]


def slice_of_concat(op: SliceOp, ctx: Rewriter) -> Replacement:
    """A slice that stays within one operand of a concatenation is a slice of that operand."""
    inner = op.x.owner
    if not isinstance(inner, ConcatOp) or 0 in int_values(op.sizes):
        return None
    axis, starts = inner.axis.value.data, list(int_values(op.starts))
    last = starts[axis] + (int_values(op.sizes)[axis] - 1) * int_values(op.steps)[axis]
    low, high, base = min(starts[axis], last), max(starts[axis], last), 0
    for arg in inner.args:
        extent = shape_of(arg)[axis]
        if base <= low and high < base + extent:
            if type_of(arg).encoding != type_of(op.result).encoding:
                return None
            starts[axis] -= base
            return [SliceOp(arg, starts, int_values(op.sizes), int_values(op.steps))]
        base += extent
    return None


def empty_pad(op: PadOp, ctx: Rewriter) -> Replacement:
    """A pad by nothing; two constant pads with one value are one."""
    low, high = int_values(op.low), int_values(op.high)
    if not any(low) and not any(high):
        return op.x
    inner = op.x.owner
    if (
        isinstance(inner, PadOp)
        and op.mode.data == inner.mode.data == "constant"
        and op.value == inner.value
        and min(*low, *high, *int_values(inner.low), *int_values(inner.high)) >= 0
    ):
        low = [a + b for a, b in zip(low, int_values(inner.low), strict=True)]
        high = [a + b for a, b in zip(high, int_values(inner.high), strict=True)]
        return [PadOp(inner.x, low, high, "constant", op.value.value.data)]
    return None


def resize_to_same(op: ResizeOp, ctx: Rewriter) -> Replacement:
    """A resize by factor 1."""
    unit = all(float(s) == 1.0 for s in op.scales.get_values())
    return op.x if unit and op.x.type == op.result.type else None


def reduce_of_ones(op: ReduceOp, ctx: Rewriter) -> Replacement:
    """Reducing only axes of extent 1, where that changes no value."""
    shape = shape_of(op.x)
    if op.kind.data not in ("sum", "mean", "max", "min", "prod"):
        return None
    if any(shape[a] != 1 for a in int_values(op.axes)):
        return None
    if element_of(op.x) != element_of(op.result):
        return None
    return op.x if op.x.type == op.result.type else [ReshapeOp(op.x, shape_of(op.result))]


def gather_of_range(op: GatherOp, ctx: Rewriter) -> Replacement:
    """Indices start, start + step, ... are a slice; a scalar index is a slice without its axis."""
    array, axis, shape = ctx.array(op.indices), op.axis.value.data, shape_of(op.x)
    if array is None or array.size == 0 or shape[axis] == 0:
        return None
    index = array.reshape(-1).astype(np.int64)
    index = np.clip(np.where(index < 0, index + shape[axis], index), 0, shape[axis] - 1)
    steps = np.diff(index)
    step = int(steps[0]) if steps.size else 1
    if step == 0 or (steps != step).any():
        return None
    starts, sizes, strides = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], sizes[axis], strides[axis] = int(index[0]), index.size, step
    taken = SliceOp(op.x, starts, sizes, strides)
    return [taken] if array.ndim == 1 else [taken, ReshapeOp(taken.result, shape_of(op.result))]


TRANSPOSE_RULES: Rules = {TransposeOp: (identity_transpose, transpose_of_transpose)}
"""Rules that only compose transposes, for passes that move them."""

RULES: Rules = {
    TransposeOp: (identity_transpose, transpose_of_transpose, transpose_of_ones),
    ReshapeOp: (reshape_to_same, reshape_of_reshape),
    BroadcastOp: (broadcast_to_same,),
    ConcatOp: (trivial_concat,),
    SliceOp: (whole_slice, slice_of_slice, slice_of_concat),
    PadOp: (empty_pad,),
    ResizeOp: (resize_to_same,),
    ReduceOp: (reduce_of_ones,),
    GatherOp: (gather_of_range,),
}
"""All data-movement rules."""
