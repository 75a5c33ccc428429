"""Integer averages: 32-bit sums, and the division folded into their requantisation.

average over a window or over axes: requantised by x_scale / (count * y_scale), by one
multiplier, or one per position where windows hold different numbers of elements
"""

from __future__ import annotations

import math

import numpy as np

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import PoolOp, ReduceOp, spatial_axes
from ...dialects.types import int_values, shape_of
from .quantize_push import stored_form
from .requantization import INT32_MAX, Form, Target, requantized


def window_counts(op: PoolOp) -> Array:
    """What an average pool divides by, broadcasting against its result's spatial axes."""
    shape, result = shape_of(op.x), shape_of(op.result)
    axes = spatial_axes(len(shape), op.layout.data)
    pads, ceil_pads, n = int_values(op.pads), int_values(op.ceil_pads), len(axes)
    include = bool(op.count_include_pad.value.data)
    counts = np.ones([1] * n, np.int64)
    for i, axis in enumerate(axes):
        kernel, stride, dilation = (int_values(a)[i] for a in (op.kernel, op.strides, op.dilations))
        taps = (
            np.arange(result[axis])[:, None] * stride
            + np.arange(kernel)[None, :] * dilation
            - pads[i]
        )
        low, high = (
            (-pads[i], shape[axis] + pads[n + i] - ceil_pads[i]) if include else (0, shape[axis])
        )
        along = ((taps >= low) & (taps < high)).sum(axis=1)
        counts = counts * along.reshape([-1 if j == i else 1 for j in range(n)])
    return counts


def integer_pool(op: PoolOp, target: Target, store: ConstantStore) -> Form | None:
    """Average or sum pooling on stored values; None if its input is real."""
    x = stored_form(op.x)
    if x is None:
        return None
    if x[1].axis_index is not None:
        return "its input is quantised per channel"
    counts = window_counts(op) if op.kind.data == "average" else np.ones([1], np.int64)
    if counts.min(initial=1) < 1:
        return "a window of it lies outside its input"
    if 255 * int(np.prod(int_values(op.kernel))) > INT32_MAX:
        return "a sum over its window may exceed 32 bits"
    total = PoolOp(
        x[0], "sum", kernel=int_values(op.kernel), strides=int_values(op.strides),
        pads=int_values(op.pads), dilations=int_values(op.dilations),
        ceil_pads=int_values(op.ceil_pads), layout=op.layout.data, x_zp=x[1].zero_point,
    )  # fmt: skip
    if (counts == counts.flat[0]).all():
        counts = counts.reshape(-1)[:1]
    elif op.layout.data == "NHWC":
        counts = counts[..., np.newaxis]
    tail = requantized(total.result, x[1].scale / (counts * target.encoding.scale), target, store)
    return tail if isinstance(tail, str) else [total, *tail]


def integer_reduction(op: ReduceOp, target: Target, store: ConstantStore) -> Form | None:
    """Mean or sum on stored values; None if the operand is real."""
    x = stored_form(op.x)
    if x is None:
        return None
    if x[1].axis_index is not None:
        return "its input is quantised per channel"
    axes = int_values(op.axes)
    count = math.prod(shape_of(op.x)[a] for a in axes)
    if not 0 < 255 * count <= INT32_MAX:
        return "a sum over its axes may exceed 32 bits"
    total = ReduceOp(x[0], "sum", axes, op.keepdims.value.data, x_zp=x[1].zero_point)
    divisor = count if op.kind.data == "mean" else 1
    ratios = np.array([x[1].scale / (divisor * target.encoding.scale)])
    tail = requantized(total.result, ratios, target, store)
    return tail if isinstance(tail, str) else [total, *tail]
