"""Pooling, its inverse, and the reassembly of columns into images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .casting import integer_range, widened
from .indexing import grid
from .limits import checked_shape
from .registry import Call, HostError, Value, operator
from .windows import Geometry, geometry, padded, per_axis, tap, windows

Array = np.ndarray[Any, Any]


def _kernel_axes(g: Geometry) -> tuple[int, ...]:
    return tuple(range(-len(g.kernel), 0))


def _coordinates(flat: Array, shape: tuple[int, ...]) -> list[Array]:
    """Row-major positions as one index array per axis."""
    out: list[Array] = []
    for extent in shape[::-1]:
        out.append(flat % extent)
        flat = flat // extent
    return out[::-1]


@operator("MaxPool")
def max_pool(call: Call) -> list[Value]:
    """The greatest element of each window, and where it is in the flattened input."""
    x = call.tensor(0)
    g = geometry(call, x.shape[2:], call.required("kernel_shape"))
    bounds = integer_range(x.dtype)
    view = windows(padded(widened(x), g, bounds[0] if bounds else -np.inf), g)
    if not call.wants(1):
        return [view.max(_kernel_axes(g)).astype(x.dtype)]
    rank, size = len(g.kernel), int(np.prod(g.kernel))
    checked_shape([*x.shape[:2], *g.out, size], x.dtype.itemsize)
    flat = view.reshape(*view.shape[: 2 + rank], size)
    best = flat.argmax(-1)
    values = np.take_along_axis(flat, best[..., None], -1)[..., 0]
    taps = _coordinates(best, g.kernel)
    index: Array = np.zeros(best.shape, np.int64)
    order = range(rank) if not call.attr("storage_order", 0) else range(rank)[::-1]
    spots = grid(g.out)
    for axis in order:
        place = spots[axis] * g.strides[axis] - g.before[axis] + taps[axis] * g.dilations[axis]
        index = np.add(index * x.shape[2 + axis], place)
    spatial = math.prod(x.shape[2:])
    count = x.shape[0] * x.shape[1]
    images = np.arange(count, dtype=np.int64).reshape([*x.shape[:2], *[1] * rank])
    return [values.astype(x.dtype), index + images * spatial]


@operator("AveragePool")
def average_pool(call: Call) -> list[Value]:
    """The mean of each window, over elements of the input or of the padded input."""
    x = call.tensor(0)
    g = geometry(call, x.shape[2:], call.required("kernel_shape"))
    axes = _kernel_axes(g)
    total = windows(padded(widened(x), g, 0), g).sum(axes)
    ones = np.ones((1, 1, *x.shape[2:]), np.float64)
    if call.attr("count_include_pad", 0):
        sides = [(b, a) for b, a in zip(g.before, g.after, strict=True)]
        whole = np.pad(ones, [(0, 0), (0, 0), *sides], constant_values=1)
        flush = Geometry(
            g.kernel, g.strides, g.dilations, (0,) * len(axes), (0,) * len(axes), g.out
        )
        count = windows(padded(whole, flush, 0), flush).sum(axes)
    else:
        count = windows(padded(ones, g, 0), g).sum(axes)
    return [(total / count).astype(x.dtype)]


@operator("LpPool")
def lp_pool(call: Call) -> list[Value]:
    """The p-norm of each window."""
    x, p = call.tensor(0), float(call.attr("p", 2))
    g = geometry(call, x.shape[2:], call.required("kernel_shape"))
    powers = np.abs(windows(padded(widened(x), g, 0), g)) ** p
    return [(powers.sum(_kernel_axes(g)) ** (1 / p)).astype(x.dtype)]


@operator("GlobalLpPool")
def global_lp_pool(call: Call) -> list[Value]:
    """The p-norm of each channel's image."""
    x, p = call.tensor(0), float(call.attr("p", 2))
    powers = np.abs(widened(x)) ** p
    total = powers.sum(tuple(range(2, x.ndim)), keepdims=True)
    return [(total ** (1 / p)).astype(x.dtype)]


@operator("MaxUnpool")
def max_unpool(call: Call) -> list[Value]:
    """Elements back at the places that MaxPool took them from, zero elsewhere.

    Indices count in the shape that inverting the pooling gives, which `output_shape` may enlarge.
    """
    x, indices, given = call.tensor(0), call.tensor(1), call.optional(2)
    kernel = [int(k) for k in call.required("kernel_shape")]
    rank = len(kernel)
    strides = per_axis(call, "strides", rank, 1)
    pads = call.attr("pads") or [0] * 2 * rank
    dims = [
        (x.shape[2 + i] - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i]
        for i in range(rank)
    ]
    shape = checked_shape([*x.shape[:2], *dims])
    flat = np.zeros(int(np.prod(shape)), x.dtype)
    if indices.shape != x.shape:
        raise HostError(f"indices of shape {indices.shape} for values of shape {x.shape}")
    if indices.size and (indices.min() < 0 or indices.max() >= flat.size):
        raise HostError(f"an index is outside an output of shape {list(shape)}")
    flat[indices.reshape(-1)] = x.reshape(-1)
    inner = flat.reshape(shape)
    if given is None:
        return [inner]
    full = checked_shape(given.reshape(-1))
    if len(full) != x.ndim or any(f < s for f, s in zip(full, shape, strict=True)):
        raise HostError(f"the output shape {list(full)} is smaller than {list(shape)}")
    out = np.zeros(full, x.dtype)
    out[tuple(slice(n) for n in shape)] = inner
    return [out]


@operator("Col2Im")
def col2im(call: Call) -> list[Value]:
    """Windows, one per column, added up into images."""
    x = call.tensor(0)
    image = [int(d) for d in call.tensor(1).reshape(-1)]
    block = [int(d) for d in call.tensor(2).reshape(-1)]
    g = geometry(call, image, block)
    size = int(np.prod(block))
    if x.ndim != 3 or size == 0 or x.shape[1] % size or x.shape[2] != int(np.prod(g.out)):
        raise HostError(f"columns of shape {list(x.shape)} for images {image}, blocks {block}")
    channels = x.shape[1] // size
    columns = widened(x).reshape(x.shape[0], channels, size, *g.out)
    dims = [d + b + a for d, b, a in zip(image, g.before, g.after, strict=True)]
    out = np.zeros(checked_shape([x.shape[0], channels, *dims]), columns.dtype)
    for i, position in enumerate(np.ndindex(*block)):
        out[(..., *tap(g, position))] += columns[:, :, i]
    inner = tuple(slice(b, b + d) for b, d in zip(g.before, image, strict=True))
    return [out[(..., *inner)].astype(x.dtype)]
