"""Linear interpolation of 8-bit values by a ratio of small whole numbers.

    x [H], twice as large:   y[2k] = x[k-1] / 4 + x[k] * 3 / 4,   y[2k+1] = x[k] * 3 / 4 + x[k+1] / 4

Every f-th output of a resize by f / s has the same weights, so that along each axis there are f
weighted sums of two selections of x (graph.qadd: 20-bit weights, rounded once), interleaved by a
concatenation along the next axis.  Channels are last within.  All axes but the last one keep the
encoding of x.
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...dialects import fixed_point
from ...dialects.graph import ConcatOp, QAddOp, QuantAttr, ReshapeOp, ResizeOp, spatial_axes
from ...dialects.semantics.graph.resize import source_coordinates
from ...dialects.types import shape_of
from .quantize_push import stored_form
from .requantization import Form, Target
from .rules.layout import to_first, to_last, transposed
from .selections import selected

MAX_PHASES = 8
"""Largest f."""


def phases(extent: int, size: int, scale: float, coordinates: str) -> list[tuple[int, float]] | None:
    """(index, weight of the element after it) of the first f outputs of an axis; None: no period."""
    common = math.gcd(extent, size)
    count, step = size // common, extent // common
    if count > MAX_PHASES:
        return None
    at = source_coordinates(extent, size, scale, coordinates).astype(np.float64)
    expected = at[:count][None, :] + step * np.arange(common)[:, None]
    if np.abs(expected.reshape(-1) - at).max() > 1e-3:
        return None
    low = np.floor(at[:count] + 1e-6)
    return [
        (int(d), max(float(a - d), 0.0)) for d, a in zip(low, at[:count], strict=True)
    ]


def resizable(op: ResizeOp) -> bool:
    """Whether `integer_resize` can compute `op`."""
    if op.mode.data != "linear":
        return False
    x, y = shape_of(op.x), shape_of(op.result)
    axes = spatial_axes(len(x), op.layout.data)
    scaled = zip(axes, op.scales.get_values(), strict=True)
    return all(
        min(x[a], y[a]) > 0 and phases(x[a], y[a], float(s), op.coordinates.data) is not None
        for a, s in scaled
    )


def integer_resize(op: ResizeOp, target: Target) -> Form | None:
    """The interpolation on stored values; None where it has none, or x is real."""
    x = stored_form(op.x)
    if x is None or not resizable(op):
        return None
    source, encoding = x
    if encoding.axis_index is not None:
        return "its input is quantised per channel"
    rank, ops = len(shape_of(op.x)), list[Operation]()
    first = op.layout.data == "NCHW"
    value = source
    if first:
        ops.append(transposed(value, to_last(rank)))
        value = ops[-1].results[0]
    old = spatial_axes(rank, op.layout.data)
    pending = [
        (axis, phases(shape_of(op.x)[o], shape_of(op.result)[o], float(s), op.coordinates.data))
        for axis, (o, s) in enumerate(zip(old, op.scales.get_values(), strict=True), 1)
        if (shape_of(op.x)[o], float(s)) != (shape_of(op.result)[o], 1.0)
    ]
    if not pending:
        return None
    for axis, weights in pending:
        assert weights is not None
        last = axis == pending[-1][0]
        wanted = target if last else Target(encoding, -128, 127)
        made = _axis(value, axis, weights, encoding, wanted)
        if made is None:
            return "it selects from too many places"
        ops += made
        value = made[-1].results[0]
    return [*ops, transposed(value, to_first(rank))] if first else ops


def _axis(
    x: SSAValue, axis: int, weights: list[tuple[int, float]], encoding: QuantAttr, target: Target
) -> list[Operation] | None:
    """Interpolation along one axis (not the innermost)."""
    shape, one = shape_of(x), 1 << fixed_point.ADD_SHIFT
    extent, count = shape[axis], len(weights)
    size = extent * count
    # weights hold one period; the step between periods follows from its length
    ops: list[Operation] = []
    parts: list[SSAValue] = []
    step = _step(weights, extent)
    groups = extent // step
    multiplier, shift = fixed_point.quantize_multiplier(
        encoding.scale / (target.encoding.scale * one)
    )
    made: dict[tuple[int, ...], SSAValue] = {}

    def at(offset: int) -> SSAValue | None:
        index = tuple(int(i) for i in np.clip(offset + step * np.arange(groups), 0, extent - 1))
        if index not in made:
            part = selected(x, axis, index)
            if part is None:
                return None
            ops.extend(part)
            made[index] = part[-1].results[0] if part else x
        return made[index]

    for low, weight in weights:
        a, b = at(low), at(low + 1)
        if a is None or b is None:
            return None
        mb = round(weight * one)
        zero = encoding.zero_point
        ops.append(
            QAddOp(
                a, b, target.encoding, za=zero, ma=one - mb, zb=zero, mb=mb,
                multiplier=multiplier, shift=shift, lo=target.lo, hi=target.hi,
            )
        )  # fmt: skip
        parts.append(ops[-1].results[0])
    if count == 1:
        return ops
    ops.append(ConcatOp(parts, axis + 1))
    result = list(shape)
    result[axis] = groups * count
    del size
    return [*ops, ReshapeOp(ops[-1].results[0], result)]
