"""Meaning of the sliding-window operations, convolution and pooling, through strided views.

`windows` views an activation as [N, C, *out, *kernel] without copying.  A convolution copies that
view in bounded pieces into matrices for BLAS (im2col); a depthwise one, and pooling, sum over the
few kernel positions instead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...constants import Array, ConstantStore
from ...graph import ConvOp, PoolOp
from ...graph.base import window_shape
from ...types import element_of, int_values, numpy_dtype, shape_of
from .nn import integer_product, widened

PIECE = 1 << 23
"""Elements of one im2col matrix (32 MB of f32)."""


def pad_spatial(x: Array, pads: Sequence[int], value: float) -> Array:
    """Pad (or crop, where negative) the spatial axes of [N, C, *spatial]."""
    if not any(pads):
        return x
    n = x.ndim - 2
    crop = [slice(max(-pads[i], 0), x.shape[2 + i] - max(-pads[n + i], 0)) for i in range(n)]
    widths = [(0, 0), (0, 0), *((max(pads[i], 0), max(pads[n + i], 0)) for i in range(n))]
    fill = np.asarray(value).astype(x.dtype)
    return np.pad(x[(slice(None), slice(None), *crop)], widths, constant_values=fill)


def windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    out: Sequence[int],
) -> Array:
    """View of padded [N, C, *spatial] as [N, C, *out, *kernel]."""
    steps = x.strides[2:]
    return as_strided(
        x,
        (*x.shape[:2], *out, *kernel),
        (
            *x.strides[:2],
            *(s * k for s, k in zip(steps, strides, strict=True)),
            *(s * d for s, d in zip(steps, dilations, strict=True)),
        ),
        writeable=False,
    )


def channels_first(x: Array, layout: str) -> Array:
    """View in [N, C, *spatial] order."""
    return x if layout == "NCHW" else np.moveaxis(x, -1, 1)


def from_channels_first(y: Array, layout: str) -> Array:
    """The inverse of `channels_first`."""
    return y if layout == "NCHW" else np.moveaxis(y, 1, -1)


def conv(op: ConvOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Cross-correlation, plus the bias."""
    layout, x, w = op.layout.data, args[0], args[1]
    x = channels_first(x, layout)
    if layout == "NHWC":
        w = np.moveaxis(w, (-1, -2), (0, 1))
    out = channels_first(np.empty(shape_of(op.result), np.bool_), layout).shape[2:]
    x_zp = op.x_zp.value.data
    x = pad_spatial(x, int_values(op.pads), x_zp)
    strides, dilations, group = (
        int_values(op.strides),
        int_values(op.dilations),
        op.group.value.data,
    )

    def product(a: Array, b: Array) -> Array:
        return _convolve(windows(a, b.shape[2:], strides, dilations, out), b, group)

    if x.dtype.itemsize == 1:
        y = integer_product(product, x, w, x_zp, op.w_zp.value.data, math.prod(w.shape[1:]))
    else:
        y = product(widened(x), widened(w))
    if op.b is not None:
        y = y + widened(args[2]).reshape(-1, *[1] * len(out))
    return from_channels_first(y, layout).astype(numpy_dtype(element_of(op.result)), copy=False)


def _convolve(view: Array, w: Array, group: int) -> Array:
    """Convolve windows [N, C, *out, *kernel] with OIHW weights: [N, M, *out]."""
    n = w.ndim - 2
    batch, channels, out, kernel = view.shape[0], view.shape[1], view.shape[2 : 2 + n], w.shape[2:]
    m, per_group = w.shape[0], w.shape[1]
    y = np.zeros((batch, m, *out), np.result_type(view, w))
    if 0 in y.shape:
        return y
    if per_group == 1 and group > 1:
        column = (slice(None), *[None] * n)
        repeat = m // group
        for at in itertools.product(*map(range, kernel)):
            taken = view[(..., *at)]
            taken = np.repeat(taken, repeat, axis=1) if repeat > 1 else taken
            y += taken * w[(slice(None), 0, *at)][column]
        return y
    matrices = w.reshape(group, m // group, -1)
    depth = math.prod(w.shape[1:])
    rows = max(1, PIECE // max(1, channels // per_group * depth * math.prod(out[1:])))
    flat = (
        view.reshape(batch, group, per_group, *view.shape[2:])
        if group == 1
        else _grouped(view, group)
    )
    order = (0, 1, 2, *range(3 + n, 3 + 2 * n), *range(3, 3 + n))
    for i in range(batch):
        for first in range(0, out[0], rows):
            piece = flat[i : i + 1, :, :, first : first + rows].transpose(order)
            extents = piece.shape[3 + n :]
            columns = piece.reshape(group, depth, math.prod(extents))
            value = np.matmul(matrices, columns).reshape(m, *extents)
            y[i, :, first : first + rows] = value
    return y


def _grouped(view: Array, group: int) -> Array:
    """Split the channel axis of a view into [group, channels per group] without copying."""
    channels = view.shape[1] // group
    step = view.strides[1]
    return as_strided(
        view,
        (view.shape[0], group, channels, *view.shape[2:]),
        (view.strides[0], step * channels, step, *view.strides[2:]),
        writeable=False,
    )


def pool(op: PoolOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Maximum, average or sum over windows."""
    layout, kind = op.layout.data, op.kind.data
    x = channels_first(args[0], layout)
    pads, dtype = int_values(op.pads), numpy_dtype(element_of(op.result))
    if kind == "max":
        wide = widened(x)
        lowest = -np.inf if wide.dtype.kind == "f" else int(np.iinfo(wide.dtype).min)
        y = _fold(op, pad_spatial(wide, pads, lowest), np.maximum)
    elif kind == "sum" and x.dtype.itemsize == 1:
        y = _fold(
            op, pad_spatial(x.astype(np.int32) - np.int32(op.x_zp.value.data), pads, 0), np.add
        )
    else:
        y = _fold(op, pad_spatial(widened(x), pads, 0), np.add)
        if kind == "average":
            y = y / window_counts(op, x.shape[2:]).astype(y.dtype)
    return from_channels_first(y, layout).astype(dtype, copy=False)


def window_counts(op: PoolOp, spatial: Sequence[int]) -> Array:
    """Elements that count in each window of an average, [1, 1, *out]: the divisors."""
    n, pads, ceil = len(spatial), int_values(op.pads), int_values(op.ceil_pads)
    ends = [pads[n + i] - ceil[i] for i in range(n)]
    counted = np.ones((1, 1, *spatial), np.float32)
    inside = float(op.count_include_pad.value.data)
    counted = pad_spatial(counted, [*pads[:n], *ends], inside)
    counted = pad_spatial(counted, [*[0] * n, *ceil], 0)
    return _fold(op, counted, np.add)


def _fold(op: PoolOp, values: Array, combine: np.ufunc) -> Array:
    """Combine the elements of every window of padded [N, C, *spatial]."""
    kernel, strides, dilations = map(int_values, (op.kernel, op.strides, op.dilations))
    out = window_shape(values.shape[2:], kernel, strides, [0] * 2 * len(kernel), dilations)
    view = windows(values, kernel, strides, dilations, out)
    positions = itertools.product(*map(range, kernel))
    y = np.array(view[(..., *next(positions))])
    for at in positions:
        combine(y, view[(..., *at)], out=y)
    return y
