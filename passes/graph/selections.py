"""Selecting elements along an axis by constant indices, as slices, repetitions and concatenations.

    gather %x [3, 5, 7, 7, 0]   ->   concat(slice 3..7 step 2, slice 7, slice 0)

What a DMA engine moves as boxes: gathers, reversed slices, reflected, repeated and wrapped
paddings, and nearest resizes by any factor, as far as their indices consist of few progressions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import i8
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import (
    BroadcastOp,
    ConcatOp,
    GatherOp,
    LookupOp,
    PadOp,
    ReduceOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    constant_array,
    quantization,
    spatial_axes,
)
from ...dialects.semantics.graph.resize import taps
from ...dialects.types import element_of, int_values, shape_of
from ..rewriting import replace
from .capabilities import whole_factors

MAX_PIECES = 32
"""Most slices one selection may consist of."""


def progressions(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first, step >= 0, count) of runs that make up `indices`, greedily.

    >>> progressions([3, 5, 7, 7, 7, 0])
    [(3, 2, 3), (7, 0, 2), (0, 1, 1)]
    """
    out: list[tuple[int, int, int]] = []
    i = 0
    while i < len(indices):
        step, count = 1, 1
        if i + 1 < len(indices) and indices[i + 1] >= indices[i]:
            step, count = indices[i + 1] - indices[i], 2
            while i + count < len(indices) and indices[i + count] - indices[i + count - 1] == step:
                count += 1
        out.append((indices[i], step, count))
        i += count
    return out


def selected(x: SSAValue, axis: int, indices: Sequence[int]) -> list[Operation] | None:
    """The elements `indices` of `x` along `axis`; [] where that is x, None if too many pieces."""
    shape = shape_of(x)
    if list(indices) == list(range(shape[axis])):
        return []
    runs = progressions(indices)
    if len(runs) > MAX_PIECES:
        return None
    ops: list[Operation] = []
    parts: list[SSAValue] = []
    for first, step, count in runs:
        starts, sizes, steps = [0] * len(shape), list(shape), [1] * len(shape)
        starts[axis], sizes[axis], steps[axis] = first, count if step else 1, max(step, 1)
        ops.append(SliceOp(x, starts, sizes, steps))
        if not step and count > 1:
            sizes[axis] = count
            ops.append(BroadcastOp(ops[-1].results[0], sizes))
        parts.append(ops[-1].results[0])
    return ops if len(parts) == 1 else [*ops, ConcatOp(parts, axis)]


def _along(x: SSAValue, axes: dict[int, list[int]]) -> list[Operation] | None:
    """Selections along several axes, one after the other."""
    ops: list[Operation] = []
    for axis, indices in axes.items():
        part = selected(x, axis, indices)
        if part is None:
            return None
        ops += part
        x = ops[-1].results[0] if part else x
    return ops or None


def _gather(op: GatherOp, store: ConstantStore) -> list[Operation] | None:
    indices, axis, shape = constant_array(op.indices, store), op.axis.value.data, shape_of(op.x)
    if indices is None or not indices.size:
        return None
    flat = indices.astype(np.int64).reshape(-1)
    flat = np.where(flat < 0, flat + shape[axis], flat)
    if flat.min() < 0 or flat.max() >= shape[axis]:
        return None
    ops = _along(op.x, {axis: flat.tolist()})
    if ops is None or indices.ndim == 1:
        return ops
    return [*ops, ReshapeOp(ops[-1].results[0], shape_of(op.result))]


def _pad(op: PadOp) -> list[Operation] | None:
    mode, axes = op.mode.data, dict[int, list[int]]()
    if mode not in ("reflect", "edge", "wrap"):
        return None
    for axis, (low, high, n) in enumerate(
        zip(int_values(op.low), int_values(op.high), shape_of(op.x), strict=True)
    ):
        kept: Array = np.arange(max(-low, 0), n - max(-high, 0))
        if (low or high) and not kept.size:
            return None
        if low or high:
            axes[axis] = np.pad(kept, (max(low, 0), max(high, 0)), mode).tolist()  # pyright: ignore
    return _along(op.x, axes)


def _slice(op: SliceOp) -> list[Operation] | None:
    given = zip(
        int_values(op.starts), int_values(op.sizes), int_values(op.steps), shape_of(op.x),
        strict=True,
    )  # fmt: skip
    if all(step > 0 for step in int_values(op.steps)):
        return None
    return _along(
        op.x,
        {
            axis: [start + i * step for i in range(size)]
            for axis, (start, size, step, extent) in enumerate(given)
            if (start, size, step) != (0, extent, 1)
        },
    )


def _resize(op: ResizeOp) -> list[Operation] | None:
    if op.mode.data != "nearest" or whole_factors(op) is not None:
        return None
    x, y, layout = shape_of(op.x), shape_of(op.result), op.layout.data
    axes: dict[int, list[int]] = {}
    for axis, scale in zip(spatial_axes(len(x), layout), op.scales.get_values(), strict=True):
        if x[axis] != y[axis] or scale != 1.0:
            index, _ = taps(
                "nearest", x[axis], y[axis], float(scale), op.coordinates.data, op.nearest.data, 0.0
            )
            axes[axis] = index[:, 0].tolist()
    return _along(op.x, axes)


def _least(op: ReduceOp, store: ConstantStore) -> list[Operation] | None:
    """A minimum as the complement of the maximum of complements (~q = -1 - q)."""
    from ...dialects.graph import ConstantOp

    if op.kind.data != "min":
        return None
    table = ConstantOp.from_array(np.arange(127, -129, -1).astype(np.int8), store)
    encoding = quantization(op.x.type)
    flipped = LookupOp(op.x, table.result, encoding)
    most = ReduceOp(flipped.result, "max", int_values(op.axes), op.keepdims.value.data)
    return [table, flipped, most, LookupOp(most.result, table.result, encoding)]


def _form(op: Operation, store: ConstantStore) -> list[Operation] | None:
    match op:
        case GatherOp():
            return _gather(op, store)
        case PadOp():
            return _pad(op)
        case SliceOp():
            return _slice(op)
        case ResizeOp():
            return _resize(op)
        case ReduceOp():
            return _least(op, store)
        case _:
            return None


def use_npu_forms(ops: Sequence[Operation], store: ConstantStore) -> None:
    """Rewrite selections (and minima) of 8-bit tensors among `ops` into what an NPU has."""
    for op in ops:
        values = (*op.results[:1], *op.operands[:1])
        if len(values) < 2 or any(element_of(v) != i8 or 0 in shape_of(v) for v in values):
            continue
        form = _form(op, store)
        if form is not None and form[-1].results[0].type == op.results[0].type:
            replace(op, form)
