"""Resize and Upsample: separable interpolation, one axis after another.

Each axis is a sparse matrix: for every output position some source positions with weights, clamped
to the border or, with `exclude_outside`, left out.  Source positions and weights follow the ONNX
specification of opset 19, of which older versions are special cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dialects.semantics.graph.resize import nearest_index, source_coordinates
from .casting import cast, element_of, integer_range
from .limits import checked_shape
from .registry import Call, HostError, Value, operator
from .sampling import cubic_weights

Array = np.ndarray[Any, Any]


def _positions(mode: str, n: int, out: int, scale: float, roi: tuple[float, float]) -> Array:
    """Where output positions lie in an axis of `n` elements, in f32 as compiled models compute.

    Aligned corners and regions stretch over the exact extent `scale * n`, not over its whole part.
    """
    x, exact = np.arange(out, dtype=np.float32), np.float32(scale * n)
    match mode:
        case "align_corners":
            return x * 0 if exact == 1 else x * np.float32(n - 1) / (exact - 1)
        case "tf_half_pixel_for_nn":
            return (x + np.float32(0.5)) / np.float32(scale)
        case "tf_crop_and_resize":
            start, end = (np.float32(corner) for corner in roi)
            if exact == 1:
                return x * 0 + (start + end) * np.float32(n - 1) / 2
            return start * np.float32(n - 1) + x * (end - start) * np.float32(n - 1) / (exact - 1)
        case _:
            return source_coordinates(n, out, scale, mode)


def _kernel(mode: str, distance: Array, a: float) -> Array:
    """The interpolation kernel at a distance, in elements."""
    d = np.abs(distance)
    if mode == "linear":
        return np.maximum(1 - d, 0)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _weights(call: Call, mode: str, x: Array, scale: float) -> tuple[Array, Array]:
    """First source positions, and the weights `[out, taps]` from there on."""
    a = float(call.attr("cubic_coeff_a", -0.75))
    if mode == "nearest":
        return nearest_index(x, call.attr("nearest_mode", "floor")), np.ones((len(x), 1))
    floor = np.floor(x)
    if call.attr("antialias", 0) and scale < 1:
        reach = 1 if mode == "linear" else 2
        start = int(np.floor(-reach / scale)) + 1
        checked_shape((len(x), 2 - 2 * start))
        taps = np.arange(start, 2 - start, dtype=np.float64)
        weights = _kernel(mode, (taps - (x - floor)[:, None]) * scale, a)
        return (floor + start).astype(np.int64), weights / weights.sum(1, keepdims=True)
    t = x - floor
    if mode == "linear":
        return floor.astype(np.int64), np.stack([1 - t, t], 1)
    return floor.astype(np.int64) - 1, np.stack(cubic_weights(t, a), 1)


def _along(x: Array, axis: int, first: Array, weights: Array, exclude: bool) -> Array:
    """The weighted sums along one axis."""
    n = x.shape[axis]
    index = first[:, None] + np.arange(weights.shape[1], dtype=np.int64)
    if exclude:
        weights = np.where((index >= 0) & (index < n), weights, 0)
        weights = weights / weights.sum(1, keepdims=True)
    index = np.clip(index, 0, n - 1)
    if weights.shape[1] == 1:
        return np.take(x, index[:, 0], axis)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    # A zero weight is no neighbour at all, not 0 * infinity.
    total = np.zeros([len(first) if i == axis else d for i, d in enumerate(x.shape)])
    for tap in range(weights.shape[1]):
        weight = weights[:, tap].reshape(shape)
        total += np.where(weight != 0, np.take(x, index[:, tap], axis) * weight, 0)
    return total


def _interpolate(
    call: Call, x: Array, axes: list[int], scales: list[float], sizes: list[int], roi: list[float]
) -> Array:
    mode = {"bilinear": "linear"}.get(call.attr("mode", "nearest"), call.attr("mode", "nearest"))
    if mode not in ("nearest", "linear", "cubic"):
        raise HostError(f"there is no interpolation mode {mode!r}")
    place = call.attr("coordinate_transformation_mode", "asymmetric")
    exclude = bool(call.attr("exclude_outside", 0))
    target = list(x.shape)
    for axis, size in zip(axes, sizes, strict=True):
        target[axis] = size
    checked_shape(target)
    if 0 in target or 0 in x.shape:
        return np.zeros(target, x.dtype)
    result = x if mode == "nearest" else x.astype(np.float64)
    outside = np.zeros([1] * x.ndim, bool)
    for i, (axis, scale, size) in enumerate(zip(axes, scales, sizes, strict=True)):
        bounds = (roi[i], roi[i + len(axes)]) if roi else (0.0, 1.0)
        n = x.shape[axis]
        if scale <= 0 or not np.isfinite(scale):
            raise HostError(f"an axis is scaled by {scale}")
        if size == n and scale == 1 and bounds == (0.0, 1.0):
            continue
        at = _positions(place, n, size, scale, bounds)
        if place == "tf_crop_and_resize":
            off = (at < 0) | (at > n - 1)
            outside = outside | off.reshape([-1 if j == axis else 1 for j in range(x.ndim)])
        first, weights = _weights(call, mode, np.clip(at, -(2**40), 2**40), scale)
        result = _along(result, axis, first, weights, exclude)
    if outside.any():
        result = np.where(outside, float(call.attr("extrapolation_value", 0.0)), result)
    if bounds := integer_range(x.dtype):
        if result.dtype.kind == "f":
            result = np.clip(np.rint(result) if mode == "cubic" else np.trunc(result), *bounds)
        return result.astype(x.dtype)
    return cast(result, element_of(x.dtype))


@operator("Resize")
def resize(call: Call) -> list[Value]:
    """By scales or to sizes, of all axes or of some; opset 10 has scales alone."""
    x = call.tensor(0)
    axes = [int(a) % x.ndim for a in call.attr("axes") or range(x.ndim)]
    roi, scales, sizes = (
        (None, call.optional(1), None)
        if call.opset < 11
        else (call.optional(1), call.optional(2), call.optional(3))
    )
    dims = [x.shape[axis] for axis in axes]
    if sizes is not None and sizes.size:
        wanted = [int(s) for s in sizes.reshape(-1)]
        if len(wanted) != len(axes) or min(wanted) < 0:
            raise HostError(f"sizes {wanted} for {len(axes)} axes")
        factors = [w / d if d else 1.0 for w, d in zip(wanted, dims, strict=True)]
        policy = call.attr("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(axes)
            wanted = [int(np.floor(factor * d + 0.5)) for d in dims]
    elif scales is not None and scales.size:
        factors = [float(s) for s in scales.reshape(-1)]
        if len(factors) != len(axes) or not all(np.isfinite(f) and f > 0 for f in factors):
            raise HostError(f"scales {factors} for {len(axes)} axes")
        wanted = [int(np.floor(f * d)) for f, d in zip(factors, dims, strict=True)]
    else:
        raise HostError("there are neither scales nor sizes")
    corners = [] if roi is None else [float(v) for v in roi.reshape(-1)]
    if call.attr("coordinate_transformation_mode") != "tf_crop_and_resize":
        corners = []
    if corners and len(corners) != 2 * len(axes):
        raise HostError(f"{len(corners)} corners of a region for {len(axes)} axes")
    return [_interpolate(call, x, axes, factors, wanted, corners)]


@operator("Upsample")
def upsample(call: Call) -> list[Value]:
    """Resize of opset 10 under its earlier name; the scales were attributes first."""
    x = call.tensor(0)
    if call.opset >= 9:
        scales = [float(s) for s in call.tensor(1).reshape(-1)]
    elif call.opset >= 7:
        scales = [float(s) for s in call.required("scales")]
    else:
        ones = [1.0] * (x.ndim - 2)
        scales = [*ones, float(call.required("height_scale")), float(call.required("width_scale"))]
    if len(scales) != x.ndim or not all(np.isfinite(s) and s > 0 for s in scales):
        raise HostError(f"scales {scales} for shape {list(x.shape)}")
    sizes = [int(np.floor(s * d)) for s, d in zip(scales, x.shape, strict=True)]
    return [_interpolate(call, x, list(range(x.ndim)), scales, sizes, [])]
