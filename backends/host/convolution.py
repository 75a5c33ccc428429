"""Convolutions in any number of dimensions, as one batched matrix product per kernel position.

Products of 8-bit integers are summed in float64, which is exact for up to 2^37 terms.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .casting import integer_range, widened
from .limits import checked_shape
from .registry import Call, HostError, Value, operator
from .sampling import sample
from .windows import Geometry, geometry, padded, per_axis, tap

Array = np.ndarray[Any, Any]


def _groups(x: Array, w: Array, group: int) -> None:
    if w.ndim != x.ndim or x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise HostError(f"weights of shape {list(w.shape)}, {group} groups, for {list(x.shape)}")


def convolve(x: Array, w: Array, g: Geometry, group: int) -> Array:
    """`x[N, C, *padded]` with `w[M, C / group, *kernel]`: `[N, M, *out]`."""
    n, m = x.shape[0], w.shape[0]
    points = int(np.prod(g.out))
    out = np.zeros(checked_shape((n, group, m // group, points)), np.result_type(x, w))
    grouped = w.reshape(group, m // group, w.shape[1], *w.shape[2:])
    for position in np.ndindex(*g.kernel):
        pixels = x[(..., *tap(g, position))].reshape(n, group, w.shape[1], points)
        out += np.matmul(grouped[(..., *position)], pixels)
    return out.reshape(n, m, *g.out)


@operator("Conv")
def conv(call: Call) -> list[Value]:
    """Convolution with groups, strides, dilations and padding."""
    x, w, bias = call.tensor(0), call.tensor(1), call.optional(2)
    group = int(call.attr("group", 1))
    _groups(x, w, group)
    g = geometry(call, x.shape[2:], w.shape[2:])
    out = convolve(padded(widened(x), g, 0), widened(w), g, group)
    if bias is not None:
        out = out + widened(bias).reshape(-1, *[1] * len(g.kernel))
    return [out.astype(x.dtype)]


@operator("ConvInteger")
def conv_integer(call: Call) -> list[Value]:
    """Exact products of 8-bit integers less their zero points; padding is the zero point."""
    x, w = call.tensor(0).astype(np.float64), call.tensor(1).astype(np.float64)
    x_zero, w_zero = call.optional(2), call.optional(3)
    group = int(call.attr("group", 1))
    _groups(x, w, group)
    g = geometry(call, x.shape[2:], w.shape[2:])
    if x_zero is not None:
        x = x - x_zero.astype(np.float64).reshape(())
    if w_zero is not None:
        w = w - w_zero.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
    return [convolve(padded(x, g, 0), w, g, group).astype(np.int64).astype(np.int32)]


@operator("QLinearConv")
def qlinear_conv(call: Call) -> list[Value]:
    """Exact integer convolution, scaled, rounded to even and saturated."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (call.tensor(i) for i in range(8))
    bias, group = call.optional(8), int(call.attr("group", 1))
    _groups(x, w, group)
    g = geometry(call, x.shape[2:], w.shape[2:])
    shape = (-1, *[1] * len(g.kernel))
    pixels = x.astype(np.float64) - x_zero.astype(np.float64).reshape(())
    weights = w.astype(np.float64) - w_zero.astype(np.float64).reshape(-1, 1, *shape[1:])
    total = convolve(padded(pixels, g, 0), weights, g, group)
    if bias is not None:
        total = total + bias.reshape(shape)
    scale = x_scale.reshape(()) * w_scale.reshape(shape) / y_scale.reshape(())
    bounds = integer_range(y_zero.dtype)
    if bounds is None:
        raise HostError(f"the result cannot be {y_zero.dtype}")
    scaled = np.rint(total * widened(scale)) + y_zero.astype(np.float64).reshape(())
    return [np.clip(scaled, *bounds).astype(y_zero.dtype)]


@operator("ConvTranspose")
def conv_transpose(call: Call) -> list[Value]:
    """Every input element adds the kernel to the output; `output_shape` decides the padding."""
    x, w, bias = call.tensor(0), call.tensor(1), call.optional(2)
    group, rank = int(call.attr("group", 1)), x.ndim - 2
    if w.ndim != x.ndim or w.shape[0] != x.shape[1] or x.shape[1] % group:
        raise HostError(f"weights of shape {list(w.shape)}, {group} groups, for {list(x.shape)}")
    strides = per_axis(call, "strides", rank, 1)
    dilations = per_axis(call, "dilations", rank, 1)
    extra = [int(v) for v in call.attr("output_padding") or [0] * rank]
    kernel, dims = w.shape[2:], x.shape[2:]
    full = [
        (extent - 1) * stride + (size - 1) * dilation + 1
        for extent, stride, size, dilation in zip(dims, strides, kernel, dilations, strict=True)
    ]
    pads = [int(p) for p in call.attr("pads") or [0] * 2 * rank]
    before, after = pads[:rank], pads[rank:]
    auto, wanted = call.attr("auto_pad", "NOTSET"), call.attr("output_shape")
    if auto == "VALID":
        before, after = [0] * rank, [0] * rank
    if wanted or auto.startswith("SAME"):
        target = list(wanted or [d * s for d, s in zip(dims, strides, strict=True)])[-rank:]
        total = [max(f + e - t, 0) for f, e, t in zip(full, extra, target, strict=True)]
        half = [t // 2 for t in total]
        rest = [t - h for t, h in zip(total, half, strict=True)]
        before, after = (half, rest) if auto == "SAME_UPPER" else (rest, half)
        if wanted:  # what the padding cannot take away is padded on instead
            shape = target
        else:
            shape = [f + e - t for f, e, t in zip(full, extra, total, strict=True)]
    else:
        shape = [f + e - b - a for f, e, b, a in zip(full, extra, before, after, strict=True)]
    shape = checked_shape(shape)
    n, m = x.shape[0], w.shape[1] * group
    room = [max(f, b + o) for f, b, o in zip(full, before, shape, strict=True)]
    out = np.zeros(checked_shape([n, m, *room]), widened(x).dtype)
    pixels = widened(x).reshape(n, group, x.shape[1] // group, prod(dims))
    weights = widened(w).reshape(group, x.shape[1] // group, w.shape[1], *kernel)
    g = Geometry(kernel, strides, dilations, (0,) * rank, (0,) * rank, dims)
    for position in np.ndindex(*kernel):
        product = np.matmul(np.swapaxes(weights[(..., *position)], 1, 2), pixels)
        out[(..., *tap(g, position))] += product.reshape(n, m, *dims)
    out = out[(..., *(slice(b, b + o) for b, o in zip(before, shape, strict=True)))]
    if bias is not None:
        out = out + widened(bias).reshape(-1, *[1] * rank)
    return [out.astype(x.dtype)]


@operator("DeformConv")
def deform_conv(call: Call) -> list[Value]:
    """Convolution of bilinear samples at shifted kernel positions, optionally weighted (2-D)."""
    x, w, offset = call.tensor(0), call.tensor(1), call.tensor(2)
    bias, mask = call.optional(3), call.optional(4)
    if x.ndim != 4:
        raise HostError(f"only images are sampled, not inputs of shape {list(x.shape)}")
    group, shifts = int(call.attr("group", 1)), int(call.attr("offset_group", 1))
    _groups(x, w, group)
    g = geometry(call, x.shape[2:], w.shape[2:])
    n, channels = x.shape[:2]
    size, points = int(np.prod(g.kernel)), int(np.prod(g.out))
    if channels % shifts or offset.shape != (n, shifts * size * 2, *g.out):
        raise HostError(f"offsets of shape {list(offset.shape)} for {shifts} offset groups")
    moved = widened(offset).reshape(n, shifts, size, 2, *g.out)
    weight = None if mask is None else widened(mask).reshape(n * shifts, size, points)
    image = widened(x).reshape(n * shifts, channels // shifts, *x.shape[2:])
    kernel = widened(w).reshape(group, w.shape[0] // group, w.shape[1], size)
    grid = np.indices(g.out)
    out = np.zeros(checked_shape((n, group, w.shape[0] // group, points)), image.dtype)
    for i, position in enumerate(np.ndindex(*g.kernel)):
        at = [
            (
                grid[axis] * g.strides[axis]
                - g.before[axis]
                + position[axis] * g.dilations[axis]
                + moved[:, :, i, axis]
            ).reshape(n * shifts, points)
            for axis in range(2)
        ]
        pixels = sample(image, at, "linear")
        if weight is not None:
            pixels = pixels * weight[:, None, i]
        out += np.matmul(kernel[..., i], pixels.reshape(n, group, w.shape[1], points))
    result = out.reshape(n, w.shape[0], *g.out)
    if bias is not None:
        result = result + widened(bias).reshape(-1, 1, 1)
    return [result.astype(x.dtype)]
