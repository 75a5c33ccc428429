"""Linear interpolation of 8-bit values by a ratio of small whole numbers.

    twice as large:  y[2k] = x[k-1] / 4 + x[k] * 3 / 4,  y[2k+1] = x[k] * 3 / 4 + x[k+1] / 4

Every f-th output of a resize by f / s has the same weights, so that along each axis there are f
weighted sums of two selections of x (graph.qadd: 20-bit weights, rounded once), interleaved by a
concatenation along the next axis.  Channels are last within.  All axes but the last one keep the
encoding of x.
"""

from __future__ import annotations

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...dialects import fixed_point
from ...dialects.graph import ConcatOp, QAddOp, QuantAttr, ReshapeOp, ResizeOp
from ...dialects.types import shape_of
from .interpolation import Phases, axis_phases
from .quantize_push import stored_form
from .requantization import Form, Target
from .rules.layout import to_first, to_last, transposed
from .selections import selected


def integer_resize(op: ResizeOp, target: Target) -> Form | None:
    """The interpolation on stored values; None where it has none, or x is real."""
    x = stored_form(op.x)
    if x is None or op.mode.data != "linear":
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
    pending = axis_phases(op)
    if not pending:
        return None
    for axis, period in pending.items():
        wanted = target if axis == max(pending) else Target(encoding, -128, 127)
        made = _axis(value, axis, period, encoding, wanted)
        if made is None:
            return "it selects from too many places"
        ops += made
        value = made[-1].results[0]
    return [*ops, transposed(value, to_first(rank))] if first else ops


def _axis(
    x: SSAValue, axis: int, period: Phases, encoding: QuantAttr, target: Target
) -> list[Operation] | None:
    """Interpolation along one axis (not the innermost)."""
    shape, one, zero = shape_of(x), 1 << fixed_point.ADD_SHIFT, encoding.zero_point
    groups = shape[axis] // period.step
    multiplier, shift = fixed_point.quantize_multiplier(
        encoding.scale / (target.encoding.scale * one)
    )
    ops: list[Operation] = []
    parts: list[SSAValue] = []
    made: dict[tuple[int, ...], SSAValue] = {}

    def at(offset: int) -> SSAValue | None:
        places = np.clip(offset + period.step * np.arange(groups), 0, shape[axis] - 1)
        index = tuple(int(i) for i in places)
        if index not in made:
            if (part := selected(x, axis, index)) is None:
                return None
            ops.extend(part)
            made[index] = part[-1].results[0] if part else x
        return made[index]

    for low, weight in period.weights:
        a, b, mb = at(low), at(low + 1), round(weight * one)
        if a is None or b is None:
            return None
        total = QAddOp(
            a, b, target.encoding, za=zero, ma=one - mb, zb=zero, mb=mb, multiplier=multiplier,
            shift=shift, lo=target.lo, hi=target.hi,
        )  # fmt: skip
        ops.append(total)
        parts.append(total.result)
    if len(parts) == 1:
        return ops
    joined = ConcatOp(parts, axis + 1)
    result = list(shape)
    result[axis] = groups * len(parts)
    return [*ops, joined, ReshapeOp(joined.result, result)]
