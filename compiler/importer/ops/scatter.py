"""Scatter as gather.

Writing updates to constant positions is a gather, at constant positions, from the tensor and the
updates laid end to end:

    y = gather(concat(x, updates), source)      source[p] = p, or where the update of p lies

Computed positions make `source` computed: position p takes the last update that is aimed at it,
found by comparing all positions with all targets (so only for small tensors; elements are compared
along their axis alone).  With a reduction, the updates of each constant position are gathered side
by side, filled up with the neutral element, and reduced; those of computed positions are selected
from all updates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import GatherOp, ReduceOp
from ....dialects.types import element_of, shape_of
from ..limits import PAIR_LIMIT
from ..node import Node, Value, rule
from .elementwise import same_type
from .indexing import counted, element_positions, indices_of, strides_of, wrapped

_REDUCTIONS = {
    "add": ("sum", "add", 0.0),
    "mul": ("prod", "mul", 1.0),
    "max": ("max", "maximum", -np.inf),
    "min": ("min", "minimum", np.inf),
}


@rule("ScatterND")
def scatter_nd(node: Node) -> Value:
    """Slices of x replaced by (or combined with) updates."""
    shape, extents = node.shape(), node.shape(1)
    depth = extents[-1] if extents else 0
    if not 1 <= depth <= len(shape) or node.shape(2) != (*extents[:-1], *shape[depth:]):
        raise _misfit(node)
    rows = (math.prod(shape[:depth]), *shape[depth:])
    strides = strides_of(shape[:depth])
    constant = indices_of(node)
    if constant is not None:
        position = np.zeros(extents[:-1], np.int64)
        for i, stride in enumerate(strides):
            position = position + wrapped(node, constant[..., i], shape[i]) * stride
        return _scattered(node, position.reshape(-1), rows)
    target: SSAValue | None = None
    for i, stride in enumerate(strides):
        part = node.cast(node.slice_axis(node.x(1), len(extents) - 1, i, 1), i64)
        part = counted(node, node.reshape(part, (math.prod(extents[:-1]),)), shape[i])
        part = node.map("mul", part, node.scalar(stride, part)) if stride != 1 else part
        target = part if target is None else node.map("add", target, part)
    assert target is not None
    return _by_data(node, target, rows)


@rule("ScatterElements", "Scatter")
def scatter_elements(node: Node) -> Value:
    """Elements of x replaced by (or combined with) updates."""
    shape, extents = node.shape(), node.shape(1)
    axis = node.axis(node.integer("axis", 0), len(shape))
    if len(extents) != len(shape) or node.shape(2) != extents:
        raise _misfit(node)
    if any(e > d for i, (e, d) in enumerate(zip(extents, shape, strict=True)) if i != axis):
        raise _misfit(node)
    base, stride = element_positions(node, shape, extents, axis), strides_of(shape)[axis]
    constant = indices_of(node)
    if constant is not None:
        position = base + wrapped(node, constant, shape[axis]) * stride
        return _scattered(node, position.reshape(-1), (math.prod(shape),))
    return _scattered_along(node, axis)


def _scattered_along(node: Node, axis: int) -> Value:
    """Elements at computed positions of one axis: y[.., p, ..] from the updates aimed at p.

    The axis comes last: indices [rows, m] against positions [n], in rows that the indices cover.
    """
    shape, extents, rank = node.shape(), node.shape(1), len(node.shape())
    same_type(node, node.x(0), node.x(2))
    perm = [*(a for a in range(rank) if a != axis), axis]
    covered = [extents[a] for a in perm[:-1]]
    rows, n, m = math.prod(covered), shape[axis], extents[axis]
    if rows * n * m > PAIR_LIMIT:
        raise node.unsupported(
            f"scattering {m} updates into {n} places of {rows} rows by computed indices",
            "use constant indices, or Where with a mask",
        )
    if not rows * m:
        return node.value()

    def matrix(i: int) -> SSAValue:
        moved = node.transpose(node.x(i), perm)
        return node.reshape(moved, (rows, shape_of(moved)[-1], 1))

    part = node.slice(node.x(), [0] * rank, [n if a == axis else e for a, e in enumerate(extents)])
    old = node.reshape(node.transpose(part, perm), (rows, n))
    target = counted(node, node.cast(matrix(1), i64), n)
    hit = node.map("equal", target, node.constant(np.arange(n)))  # [rows, m, n]
    reduction = node.text("reduction", "none")
    if reduction == "none":
        order = node.constant(np.arange(1, m + 1).reshape(m, 1))
        chosen = node.map("select", hit, order, node.scalar(0, order))
        last = node.emit(ReduceOp(chosen, "max", [1], 0))
        none = node.scalar(0, last)
        place = node.map("maximum", node.map("sub", last, node.scalar(1, last)), none)
        base = node.constant((np.arange(rows) * m).reshape(rows, 1))
        flat = node.reshape(matrix(2), (rows * m,))
        taken = node.emit(GatherOp(flat, node.map("add", place, base), 0))
        new = node.map("select", node.map("greater", last, none), taken, old)
    else:
        new = _reduced(
            node, old, node.map("select", hit, matrix(2), _neutral(node, reduction)), 1, reduction
        )
    new = node.transpose(node.reshape(new, (*covered, n)), [perm.index(a) for a in range(rank)])
    for a in range(rank):  # what lies beyond the indices stays
        if a != axis and extents[a] < shape[a]:
            sizes = list(shape_of(new))
            starts, sizes[a] = [0] * rank, shape[a] - extents[a]
            starts[a] = extents[a]
            new = node.concat([new, node.slice(node.x(), starts, sizes)], a)
    return new


def _neutral(node: Node, reduction: str) -> SSAValue:
    """The value that changes nothing under `reduction`."""
    if reduction not in _REDUCTIONS:
        raise node.error(f"unknown reduction {reduction!r}")
    neutral, dtype = _REDUCTIONS[reduction][2], node.dtype()
    if dtype.kind in "iu" and np.isinf(neutral):
        limits = np.iinfo(dtype)  # pyright: ignore[reportArgumentType]
        return node.constant(np.array(limits.min if neutral < 0 else limits.max, dtype))
    return node.constant(np.array(neutral).astype(dtype))


def _reduced(node: Node, x: SSAValue, updates: SSAValue, axis: int, reduction: str) -> SSAValue:
    """X combined with all updates along `axis`."""
    kind, fn, _ = _REDUCTIONS[reduction]
    if node.dtype().kind == "b":
        raise node.unsupported("a reduction of booleans", "cast them to integers")
    total = node.emit(ReduceOp(updates, kind, [axis], 0))
    return node.map(fn, x, node.cast(total, element_of(x)))


def _misfit(node: Node) -> Exception:
    return node.error(
        f"indices of shape {list(node.shape(1))} and updates of shape {list(node.shape(2))} "
        f"do not fit {list(node.shape())}"
    )


def _rows(node: Node, count: int, shape: Sequence[int]) -> tuple[SSAValue, SSAValue]:
    """X and the updates as rows."""
    same_type(node, node.x(0), node.x(2))
    return node.reshape(node.x(0), shape), node.reshape(node.x(2), (count, *shape[1:]))


def _scattered(node: Node, position: Array, shape: Sequence[int]) -> Value:
    """X as `shape`, the i-th row of the updates put at (or combined with) row position[i]."""
    if not position.size:
        return node.value()
    x, updates = _rows(node, position.size, shape)
    reduction = node.text("reduction", "none")
    if reduction != "none":
        return node.reshape(combined(node, x, updates, position, reduction), node.shape())
    source = np.arange(node.bounded(shape[0]))
    source[position] = shape[0] + np.arange(position.size)
    both = node.concat([x, updates], 0)
    return node.reshape(node.emit(GatherOp(both, node.constant(source), 0)), node.shape())


def combined(
    node: Node, x: SSAValue, updates: SSAValue, position: Array, reduction: str
) -> SSAValue:
    """Rows of x combined with the updates at constant positions; -1 drops an update."""
    rows, count = node.bounded(shape_of(x)[0]), position.size
    order = np.argsort(position, kind="stable")
    order = order[position[order] >= 0]
    starts = np.searchsorted(position[order], np.arange(rows))
    within = np.arange(order.size) - starts[position[order]]
    most = int(within.max(initial=0)) + 1
    if most * math.prod(shape_of(x)) > PAIR_LIMIT:
        raise node.unsupported(
            f"scattering up to {most} updates into each of {rows} rows",
            "express it as a matrix product with a one-hot matrix",
        )
    source = np.full((most, rows), count)
    source[within, position[order]] = order
    none = node.broadcast(_neutral(node, reduction), (1, *shape_of(x)[1:]))
    gathered = node.emit(GatherOp(node.concat([updates, none], 0), node.constant(source), 0))
    return _reduced(node, x, gathered, 0, reduction)


def _by_data(node: Node, target: SSAValue, shape: Sequence[int]) -> Value:
    """As `_scattered`, at computed positions."""
    x, updates = _rows(node, shape_of(target)[0], shape)
    reduction = node.text("reduction", "none")
    return node.reshape(scattered_by_data(node, target, x, updates, reduction), node.shape())


def scattered_by_data(
    node: Node, target: SSAValue, x: SSAValue, updates: SSAValue, reduction: str = "none"
) -> SSAValue:
    """Rows of x, row target[i] replaced by (or combined with) updates[i]; the last of several."""
    shape, count = shape_of(x), shape_of(target)[0]
    rows = shape[0]
    pairs = rows * count * (1 if reduction == "none" else math.prod(shape[1:]))
    if pairs > PAIR_LIMIT:
        raise node.unsupported(
            f"scattering {count} updates into {rows} places by computed indices",
            "use constant indices, or Where with a mask",
        )
    positions = node.constant(np.arange(rows))
    hit = node.map("equal", node.reshape(target, (count, 1)), positions)
    if reduction != "none":
        ones = [1] * (len(shape) - 1)
        each = node.reshape(updates, (count, 1, *shape[1:]))
        hits = node.reshape(hit, (count, rows, *ones))
        chosen = node.map("select", hits, each, _neutral(node, reduction))
        return _reduced(node, x, chosen, 0, reduction)
    order = node.constant(np.arange(1, count + 1).reshape(count, 1))
    last = node.emit(ReduceOp(node.map("select", hit, order, node.scalar(0, order)), "max", [0], 0))
    moved = node.map("add", last, node.scalar(rows - 1, last))
    source = node.map("select", node.map("greater", last, node.scalar(0, last)), moved, positions)
    return node.emit(GatherOp(node.concat([x, updates], 0), source, 0))


@rule("TensorScatter")
def tensor_scatter(node: Node) -> Value:
    """A cache with new rows written from a position of each batch on: a gather from both."""
    shape, rank = node.shape(0), len(node.shape(0))
    axis = node.axis(node.integer("axis", -2), rank)
    steps, extent, batch = node.shape(1)[axis], shape[axis], shape[0]
    mode = node.text("mode", "linear")
    if axis == 0 or steps > extent or mode not in ("linear", "circular"):
        raise node.error(f"an update of {steps} along axis {axis} does not fit {list(shape)}")
    same_type(node, node.x(0), node.x(1))
    perm = [0, axis, *(a for a in range(1, rank) if a != axis)]
    rest = [shape[a] for a in perm[2:]]
    both = node.transpose(node.concat([node.x(0), node.x(1)], axis), perm)
    rows = node.reshape(both, (batch * (extent + steps), *rest))
    positions = node.constant(np.arange(extent).reshape(1, extent))
    begin = (
        node.reshape(node.cast(node.x(2), i64), (batch, 1))
        if node.has(2)
        else node.constant(np.zeros((batch, 1), np.int64))
    )
    step = node.map("sub", positions, begin)
    if mode == "circular":
        step = node.map("mod", step, node.scalar(extent, step))
    fresh = node.map(
        "and",
        node.map("greater_equal", step, node.scalar(0, step)),
        node.map("less", step, node.scalar(steps, step)),
    )
    new = node.map("add", step, node.scalar(extent, step))
    base = node.constant((np.arange(batch) * (extent + steps)).reshape(batch, 1))
    at = node.map("add", node.map("select", fresh, new, positions), base)
    taken = node.reshape(node.emit(GatherOp(rows, at, 0)), (batch, extent, *rest))
    return node.transpose(taken, [perm.index(a) for a in range(rank)])
