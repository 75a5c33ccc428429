"""Scatter as gather.

Writing updates to constant positions is a gather, at constant positions, from the tensor and the
updates laid end to end:

    y = gather(concat(x, updates), source)      source[p] = p, or where the update of p lies

Computed positions make `source` computed: position p takes the last update that is aimed at it,
found by comparing all positions with all targets (so only for small tensors).  With a reduction,
the updates of each constant position are gathered side by side, filled up with the neutral
element, and reduced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import GatherOp, ReduceOp
from ....dialects.types import shape_of
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
    return _scattered_by_data(node, target, rows)


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
    along = counted(node, node.cast(node.x(1), i64), shape[axis])
    target = node.map(
        "add", node.map("mul", along, node.scalar(stride, along)), node.constant(base)
    )
    return _scattered_by_data(node, node.reshape(target, (base.size,)), (math.prod(shape),))


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
        return node.reshape(_combined(node, x, updates, position, reduction), node.shape())
    source = np.arange(node.bounded(shape[0]))
    source[position] = shape[0] + np.arange(position.size)
    both = node.concat([x, updates], 0)
    return node.reshape(node.emit(GatherOp(both, node.constant(source), 0)), node.shape())


def _combined(
    node: Node, x: SSAValue, updates: SSAValue, position: Array, reduction: str
) -> SSAValue:
    if reduction not in _REDUCTIONS:
        raise node.error(f"unknown reduction {reduction!r}")
    kind, fn, neutral = _REDUCTIONS[reduction]
    rows, count = node.bounded(shape_of(x)[0]), position.size
    order = np.argsort(position, kind="stable")
    starts = np.searchsorted(position[order], np.arange(rows))
    within = np.arange(count) - starts[position[order]]
    most = int(within.max()) + 1
    if most * math.prod(shape_of(x)) > PAIR_LIMIT:
        raise node.unsupported(
            f"scattering up to {most} updates into each of {rows} rows",
            "express it as a matrix product with a one-hot matrix",
        )
    source = np.full((most, rows), count)
    source[within, position[order]] = order
    if node.dtype().kind != "f":
        limits = np.iinfo(node.dtype())  # pyright: ignore[reportArgumentType]
        neutral = float(np.clip(neutral, limits.min, limits.max))
    none = node.broadcast(node.scalar(neutral, x), (1, *shape_of(x)[1:]))
    gathered = node.emit(GatherOp(node.concat([updates, none], 0), node.constant(source), 0))
    return node.map(fn, x, node.emit(ReduceOp(gathered, kind, [0], 0)))


def _scattered_by_data(node: Node, target: SSAValue, shape: Sequence[int]) -> Value:
    """As `_scattered`, at computed positions; the last of several updates of a row counts."""
    rows, count = shape[0], shape_of(target)[0]
    if node.text("reduction", "none") != "none" or rows * count > PAIR_LIMIT:
        raise node.unsupported(
            "the graph core has no scatter by computed indices (but of small tensors, plainly)",
            "use constant indices, or Where with a mask",
        )
    x, updates = _rows(node, count, shape)
    positions = node.constant(np.arange(rows))
    hit = node.map("equal", node.reshape(target, (count, 1)), positions)
    order = node.constant(np.arange(1, count + 1).reshape(count, 1))
    last = node.emit(ReduceOp(node.map("select", hit, order, node.scalar(0, order)), "max", [0], 0))
    moved = node.map("add", last, node.scalar(rows - 1, last))
    source = node.map("select", node.map("greater", last, node.scalar(0, last)), moved, positions)
    return node.reshape(node.emit(GatherOp(node.concat([x, updates], 0), source, 0)), node.shape())
