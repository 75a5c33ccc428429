"""Data movement with a domain of its own: padding and gathering.

Constant padding reads outside and fills.  Other paddings and gathers read at computed indices
(`loop.extract`): from a constant table for reflect, edge and wrap, from the indices tensor for a
gather, which becomes a linear map where its indices are a constant progression.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i1, i64
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import GatherOp, PadOp
from ....dialects.types import element_of, int_values, is_float, shape_of
from .kernel import Kernel


def pad(k: Kernel, op: PadOp) -> None:
    """Padding or cropping by constant, reflect, edge or wrap."""
    shape, low, high = shape_of(op.x), int_values(op.low), int_values(op.high)
    rank = len(shape)
    nest = k.begin(shape_of(op.result), [{d: 1} for d in range(rank)])
    if op.mode.data == "constant":
        value = op.value.value.data
        fill = value if is_float(element_of(op.x)) else int(value)
        nest.acc = k.scalar(op.x, nest.rows([{d: 1} for d in range(rank)], [-v for v in low]), fill)
        return
    indices: list[SSAValue] = []
    for axis, extent in enumerate(shape):
        if not low[axis] and not high[axis]:
            indices.append(nest.index_at({axis: 1}))
            continue
        table = _padded_indices(extent, low[axis], high[axis], op.mode.data)
        indices.append(nest.read(k.constant(table), nest.rows([{axis: 1}])))
    nest.acc = nest.extract(k.whole(op.x), indices)


def _padded_indices(extent: int, low: int, high: int, mode: str) -> Array:
    """Source index (i64) of each element of an axis padded by `low` and `high`."""
    kept = np.arange(max(-low, 0), extent - max(-high, 0), dtype=np.int64)
    widths = (max(low, 0), max(high, 0))
    if mode == "edge":
        return np.pad(kept, widths, mode="edge")
    return np.pad(kept, widths, mode="reflect" if mode == "reflect" else "wrap")


def gather(k: Kernel, op: GatherOp) -> None:
    """numpy.take along an axis; negative indices count from the end."""
    x, indices, axis = shape_of(op.x), shape_of(op.indices), op.axis.value.data
    count = len(indices)
    nest = k.begin(shape_of(op.result), [{d: 1} for d in range(len(x) - 1 + count)])
    taken = {axis + i: 1 for i in range(count)}
    dims = [*range(axis), None, *range(axis + count, axis + count + len(x) - axis - 1)]
    known = k.known(op.indices)
    if known is not None and known.size:
        known = known.astype(np.int64)
        known = np.where(known < 0, known + x[axis], known)
        if (line := _progression(known)) is not None:
            rows = [
                {taken_dim: step for taken_dim, step in zip(taken, line[1], strict=True)}
                if d is None
                else {d: 1}
                for d in dims
            ]
            consts = [line[0] if d is None else 0 for d in dims]
            map = nest.rows(rows, consts)
            if nest.inside(op.x, map):
                nest.acc = k.scalar(op.x, map)
                return
        index = nest.read(k.constant(known), nest.rows([{d: 1} for d in taken]))
    else:
        index = nest.cast(nest.read(k.whole(op.indices), nest.rows([{d: 1} for d in taken])), i64)
        negative = nest.apply("less", [index, nest.const(0, i64)], i1)
        wrapped = nest.apply("add", [index, nest.const(x[axis], i64)], i64)
        index = nest.apply("select", [negative, wrapped, index], i64)
    nest.acc = nest.extract(
        k.whole(op.x), [index if d is None else nest.index_at({d: 1}) for d in dims]
    )


def _progression(values: Array) -> tuple[int, list[int]] | None:
    """(first, step of each axis) if `values` is linear in its indices, else None."""
    first = int(values.reshape(-1)[0])
    steps = [
        int(values.take(1, axis).reshape(-1)[0]) - first if extent > 1 else 0
        for axis, extent in enumerate(values.shape)
    ]
    grid = np.full(values.shape, first, np.int64)
    for axis, step in enumerate(steps):
        shape = [1] * values.ndim
        shape[axis] = -1
        grid = grid + step * np.arange(values.shape[axis], dtype=np.int64).reshape(shape)
    return (first, steps) if (grid == values).all() else None
