"""Meaning of `graph.resize`: separable interpolation, one axis after another.

`taps` gives, for one axis, which elements each result element reads and with which weights; it is
also what the lowering to loops uses, so both agree on every coordinate.  Coordinates are computed
in f32, as onnxruntime does: that decides ties of nearest-neighbour interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...constants import Array, ConstantStore
from ...graph import ResizeOp, spatial_axes
from ...types import shape_of
from .nn import widened


def source_coordinates(extent: int, size: int, scale: float, coordinates: str) -> Array:
    """f32 coordinates in an axis of `extent` elements of each of `size` resampled elements."""
    one, half, factor = np.float32(1), np.float32(0.5), np.float32(scale)
    at = np.arange(size, dtype=np.float32)
    match coordinates:
        case "asymmetric":
            return at / factor
        case "align_corners":
            return at * np.float32(extent - 1) / np.float32(max(size - 1, 1))
        case "pytorch_half_pixel":
            return (at + half) / factor - half if size > 1 else np.zeros(size, np.float32)
        case "half_pixel_symmetric":
            adjustment = np.float32(size) / (factor * np.float32(extent))
            offset = np.float32(extent) * half * (one - adjustment)
            return offset + (at + half) / factor - half
        case "half_pixel":
            return (at + half) / factor - half
        case _:
            raise ValueError(f"unknown coordinate transformation {coordinates!r}")


def nearest_index(at: Array, rounding: str) -> Array:
    """Unclamped nearest index of f32 coordinates."""
    match rounding:
        case "round_prefer_floor":
            return np.ceil(at - np.float32(0.5)).astype(np.int64)
        case "round_prefer_ceil":
            return np.floor(at + np.float32(0.5)).astype(np.int64)
        case "floor":
            return np.floor(at).astype(np.int64)
        case "ceil":
            return np.ceil(at).astype(np.int64)
        case _:
            raise ValueError(f"unknown nearest mode {rounding!r}")


def taps(
    mode: str,
    extent: int,
    size: int,
    scale: float,
    coordinates: str,
    nearest: str,
    cubic_coeff: float,
) -> tuple[Array, Array]:
    """Indices (i64) and weights (f32), both [size, taps], of the elements to sum along one axis.

    `mode` nearest has one tap of weight 1, linear two, cubic four; indices are in range (edges are
    repeated).
    """
    at = source_coordinates(extent, size, scale, coordinates)
    if mode == "nearest":
        index = nearest_index(at, nearest)[:, None]
        return np.clip(index, 0, extent - 1), np.ones((size, 1), np.float32)
    if mode == "linear":
        at = np.clip(at, 0, extent - 1)
        low = np.minimum(np.floor(at).astype(np.int64), extent - 1)
        high = np.minimum(low + 1, extent - 1)
        part = at - low.astype(np.float32)
        weights = np.stack([np.float32(1) - part, part], axis=1)
        return np.stack([low, high], axis=1), weights.astype(np.float32)
    if mode != "cubic":
        raise ValueError(f"unknown resize mode {mode!r}")
    low = np.floor(at).astype(np.int64)
    part = (at - low.astype(np.float32)).astype(np.float64)
    a = cubic_coeff
    weights = np.stack(
        [
            ((a * (part + 1) - 5 * a) * (part + 1) + 8 * a) * (part + 1) - 4 * a,
            ((a + 2) * part - (a + 3)) * part * part + 1,
            ((a + 2) * (1 - part) - (a + 3)) * (1 - part) * (1 - part) + 1,
            ((a * (2 - part) - 5 * a) * (2 - part) + 8 * a) * (2 - part) - 4 * a,
        ],
        axis=1,
    )
    index = low[:, None] + np.arange(-1, 3)
    return np.clip(index, 0, extent - 1), weights.astype(np.float32)


def resize(op: ResizeOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """Interpolate along each spatial axis that changes."""
    x = widened(args[0])
    scales = [float(s) for s in op.scales.get_values()]
    axes = spatial_axes(x.ndim, op.layout.data)
    for axis, scale in zip(axes, scales, strict=True):
        extent, size = x.shape[axis], shape_of(op.result)[axis]
        if extent == size and scale == 1.0:
            continue
        index, weights = taps(
            op.mode.data, extent, size, scale, op.coordinates.data, op.nearest.data,
            op.cubic_coeff.value.data,
        )  # fmt: skip
        if op.mode.data == "nearest":
            x = np.take(x, index[:, 0], axis=axis)
            continue
        shape = [1] * x.ndim
        shape[axis] = size
        parts = [
            np.take(x, index[:, t], axis=axis) * weights[:, t].reshape(shape)
            for t in range(index.shape[1])
        ]
        x = sum(parts[1:], parts[0])
    return x.astype(args[0].dtype, copy=False)
