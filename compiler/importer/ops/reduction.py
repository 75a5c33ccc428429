"""Reductions, ArgMax and ArgMin, and what is made of them: TopK, Hardmax, CumSum."""

from __future__ import annotations

import math

import numpy as np
from xdsl.dialects.builtin import i1, i32, i64
from xdsl.ir import SSAValue

from ....dialects.graph import ArgReduceOp, GatherOp, ReduceOp
from ....dialects.types import element_of, shape_of
from ..limits import PAIR_LIMIT
from ..node import Node, Value, rule
from .movement import axes_of

_KINDS = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "sum_square",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
}


@rule(*_KINDS)
def reduce(node: Node) -> Value:
    """Reduce some axes: all if none are given, unless `noop_with_empty_axes`."""
    rank, given = len(node.shape()), axes_of(node)
    if not given and node.integer("noop_with_empty_axes", 0):
        return node.value()
    axes = node.axes(given, rank) if given else list(range(rank))
    x, keepdims = node.x(), node.integer("keepdims", 1)
    if keepdims not in (0, 1):
        raise node.error(f"attribute 'keepdims' must be 0 or 1, not {keepdims}")
    if 0 in shape_of(x):
        raise node.unsupported("a reduction of no elements")
    if element_of(x) == i1:
        return node.cast(
            node.emit(ReduceOp(node.cast(x, i32), _KINDS[node.op], axes, keepdims)), i1
        )
    return node.emit(ReduceOp(x, _KINDS[node.op], axes, keepdims))


@rule("ArgMax", "ArgMin")
def arg_reduce(node: Node) -> Value:
    """Index of the largest or smallest element."""
    axis = node.axis(node.integer("axis", 0), len(node.shape()))
    kind = "max" if node.op == "ArgMax" else "min"
    return node.emit(
        ArgReduceOp(
            node.x(), kind, axis, node.integer("keepdims", 1), node.integer("select_last_index", 0)
        )
    )


@rule("TopK")
def top_k(node: Node) -> list[Value]:
    """The k largest (or smallest), in order.

    The first alone is a reduction.  Otherwise each element's rank is the number of elements before
    it (larger, or equal and earlier), which compares all with all; only for small tensors.
    """
    x, shape = node.x(), node.shape()
    axis = node.axis(node.integer("axis", -1), len(shape))
    k = node.integer("k") if node.opset < 10 else int(node.static_scalar(1, "k"))
    n, rest = shape[axis], math.prod(shape) // max(shape[axis], 1)
    if not 1 <= k <= n:
        raise node.error(f"k = {k} does not fit an axis of extent {n}")
    largest = node.integer("largest", 1)
    if k == 1:
        kind = "max" if largest else "min"
        return [node.emit(ReduceOp(x, kind, [axis])), node.emit(ArgReduceOp(x, kind, axis))]
    if rest * n * n > PAIR_LIMIT:
        raise node.unsupported(
            f"the graph core has no top-k of large tensors (k = {k} of {n})",
            "cut the model before it",
        )
    last = [i for i in range(len(shape)) if i != axis] + [axis]
    rows = node.reshape(node.transpose(x, last), (rest, n))
    one, other = node.reshape(rows, (rest, n, 1)), node.reshape(rows, (rest, 1, n))
    ahead = node.map("greater" if largest else "less", other, one)
    earlier = node.constant(np.tri(n, n, -1, dtype=bool))
    tied = node.map("and", node.map("equal", other, one), earlier)
    rank = node.emit(ReduceOp(node.cast(node.map("or", ahead, tied), i64), "sum", [2], 0))
    hot = node.map(
        "equal", node.reshape(rank, (rest, 1, n)), node.constant(np.arange(k).reshape(k, 1))
    )
    places = node.constant(np.arange(n))
    indices = node.emit(
        ReduceOp(node.map("select", hot, places, node.scalar(0, places)), "sum", [2], 0)
    )
    position = node.map("add", indices, node.constant((np.arange(rest) * n).reshape(rest, 1)))
    values = node.emit(GatherOp(node.reshape(rows, (rest * n,)), position, 0))
    back = [last.index(i) for i in range(len(shape))]
    return [
        node.transpose(node.reshape(y, [*(shape[i] for i in last[:-1]), k]), back)
        for y in (values, indices)
    ]


@rule("Hardmax")
def hardmax(node: Node) -> Value:
    """One at the first maximum, zero elsewhere; before opset 13 of the matrix split at the axis."""
    x, shape = node.x(), node.shape()
    axis = node.axis(node.integer("axis", 1 if node.opset < 13 else -1), len(shape))
    if node.opset < 13:
        x, axis = node.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:]))), 1
    extents = shape_of(x)
    positions = np.arange(node.bounded(extents[axis])).reshape(-1, *[1] * (len(extents) - axis - 1))
    hot = node.map("equal", node.emit(ArgReduceOp(x, "max", axis)), node.constant(positions))
    return node.reshape(node.cast(hot, element_of(x)), shape)


@rule("CumSum", "CumProd")
def cumulate(node: Node) -> Value:
    """Prefix sums by doubling: x + shift(x, 1), then 2, 4 ... (Hillis and Steele, 1986)."""
    fn, neutral = ("add", 0.0) if node.op == "CumSum" else ("mul", 1.0)
    x, shape = node.x(), node.shape()
    axis = node.axis(int(node.static_scalar(1, "the axis")), len(shape))
    backwards, extent = bool(node.integer("reverse", 0)), shape[axis]

    def shifted(by: int) -> SSAValue:
        kept = node.slice_axis(total, axis, by if backwards else 0, extent - by)
        amounts = [by if i == axis else 0 for i in range(len(shape))]
        none = [0] * len(shape)
        low, high = (none, amounts) if backwards else (amounts, none)
        return node.pad(kept, low, high, value=neutral)

    total, step = x, 1
    if node.integer("exclusive", 0):
        total = shifted(1) if extent > 1 else node.broadcast(node.scalar(neutral, x), shape)
    while step < extent:
        total = node.map(fn, total, shifted(step))
        step *= 2
    return total
