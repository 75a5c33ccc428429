"""Sampling of images at computed points: GridSample in any number of dimensions, RoiAlign.

A sample is a sum over taps: per axis some neighbouring indices with weights, multiplied out over
the axes.  Taps outside the image are zero, clamped to the border, or reflected at it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .casting import widened
from .limits import checked_shape
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _reflect(x: Array, low: float, high: float) -> Array:
    """Reflected at both borders until it is between them."""
    span = high - low
    if span <= 0:
        return np.full_like(x, low)
    offset = np.mod(x - low, 2 * span)
    return low + np.where(offset > span, 2 * span - offset, offset)


def cubic_weights(t: Array, a: float = -0.75) -> list[Array]:
    """Weights of the four neighbours of a point `t` behind the second one (Keys 1981)."""
    near = [((a + 2) * s - (a + 3)) * s * s + 1 for s in (t, 1 - t)]
    far = [((a * s - 5 * a) * s + 8 * a) * s - 4 * a for s in (t + 1, 2 - t)]
    return [far[0], near[0], near[1], far[1]]


def _taps(x: Array, mode: str) -> tuple[Array, list[Array]]:
    """First neighbour, and weights of the neighbours from there on."""
    if mode == "nearest":
        return x.astype(np.int64), [np.ones_like(x)]
    floor = np.floor(x)
    t = x - floor
    if mode == "linear":
        return floor.astype(np.int64), [1 - t, t]
    return floor.astype(np.int64) - 1, cubic_weights(t)


def sample(
    x: Array,
    points: Sequence[Array],
    mode: str,
    padding: str = "zeros",
    borders: Sequence[tuple[float, float]] = (),
) -> Array:
    """`x[N, C, *dims]` at one coordinate array `[N, P]` per spatial axis: `[N, C, P]`."""
    n, c, *dims = x.shape
    flat = x.reshape(n, c, -1)
    per_axis: list[list[tuple[Array, Array]]] = []
    for axis, (position, extent) in enumerate(zip(points, dims, strict=True)):
        bounded = np.clip(np.nan_to_num(position), -1e9, 1e9)
        first, weights = _taps(bounded, mode)
        taps: list[tuple[Array, Array]] = []
        for offset, weight in enumerate(weights):
            index = first + offset
            if padding == "reflection":
                index = _reflect(index.astype(np.float64), *borders[axis]).astype(np.int64)
            elif padding == "zeros":
                weight = np.where((index >= 0) & (index < extent), weight, 0)
            taps.append((np.clip(index, 0, extent - 1), weight))
        per_axis.append(taps)
    out: Array = np.zeros((n, c, points[0].shape[1]), np.result_type(x.dtype, points[0].dtype))
    for combination in itertools.product(*per_axis):
        index, weight = np.zeros_like(combination[0][0]), np.ones_like(combination[0][1])
        for (tap, factor), extent in zip(combination, dims, strict=True):
            index, weight = index * extent + tap, weight * factor
        picked = np.take_along_axis(
            flat, np.broadcast_to(index[:, None], (n, c, index.shape[1])), 2
        )
        # A zero weight is no neighbour at all, not 0 * infinity.
        out += np.where(weight[:, None] != 0, picked * weight[:, None], 0)
    return out


@operator("GridSample")
def grid_sample(call: Call) -> list[Value]:
    """Points in [-1, 1], the last axis first, as in PyTorch; halves round to even."""
    x, grid = call.tensor(0), widened(call.tensor(1))
    dims = x.shape[2:]
    if grid.ndim != x.ndim or grid.shape[-1] != len(dims) or grid.shape[0] != x.shape[0]:
        raise HostError(f"a grid of shape {list(grid.shape)} for an input of {list(x.shape)}")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(call.attr("mode"), call.attr("mode"))
    padding, align = call.attr("padding_mode"), bool(call.attr("align_corners"))
    if mode not in ("nearest", "linear", "cubic"):
        raise HostError(f"there is no interpolation mode {mode!r}")
    if padding not in ("zeros", "border", "reflection"):
        raise HostError(f"there is no padding mode {padding!r}")
    shape = checked_shape([*x.shape[:2], *grid.shape[1:-1]])
    if 0 in shape or 0 in dims:
        return [np.zeros(shape, x.dtype)]
    points: list[Array] = []
    borders: list[tuple[float, float]] = []
    for axis, extent in enumerate(dims):
        unit = grid[..., len(dims) - 1 - axis].reshape(x.shape[0], -1)
        point: Array = (unit + 1) / 2 * (extent - 1) if align else ((unit + 1) * extent - 1) / 2
        low, high = (0.0, extent - 1.0) if align else (-0.5, extent - 0.5)
        if mode == "nearest":
            point = np.rint(point)
        outside = (point < low) | (point > high)
        if padding == "border" and mode != "cubic":  # whose taps are clamped one by one
            point = np.where(outside, np.clip(point, 0, extent - 1), point)
        elif padding == "reflection":
            point = np.where(outside, _reflect(point, low, high), point).astype(unit.dtype)
        points.append(point)
        borders.append((low, high))
    return [sample(widened(x), points, mode, padding, borders).reshape(shape).astype(x.dtype)]


# ----------------------------------------------------------------------------------------- regions


def _bilinear(start: float, size: float, bins: int, per_bin: int, extent: int) -> list[Array]:
    """Lower and upper neighbour of each sample of an axis, and their weights."""
    step = size / bins
    position = np.arange(bins)[:, None] * step + (np.arange(per_bin) + 0.5) * step / per_bin
    position = (start + position).reshape(-1)
    valid = (position >= -1) & (position <= extent)
    position = np.clip(position, 0, extent - 1)
    low = np.clip(position.astype(np.int64), 0, max(extent - 2, 0))
    high = np.minimum(low + 1, extent - 1)
    upper = np.where(valid, position - low, 0)
    return [low, high, np.where(valid, 1 - (position - low), 0), upper]


@operator("RoiAlign")
def roi_align(call: Call) -> list[Value]:
    """Mean (or greatest weighted tap) of bilinear samples in each bin of each region.

    Without `coordinate_transformation_mode` (opset 10) regions are not shifted by half a pixel, and
    are at least one pixel large.
    """
    x, rois, batches = call.tensor(0), call.tensor(1).astype(np.float64), call.tensor(2)
    n, channels, height, width = x.shape
    half = call.attr("coordinate_transformation_mode", "output_half_pixel") == "half_pixel"
    rows, columns = int(call.attr("output_height", 1)), int(call.attr("output_width", 1))
    ratio, largest = int(call.attr("sampling_ratio", 0)), call.attr("mode", "avg") == "max"
    if rois.ndim != 2 or rois.shape[1] != 4 or len(batches) != len(rois):
        raise HostError(f"regions of shape {list(rois.shape)}, {len(batches)} batch indices")
    if ((batches < 0) | (batches >= n)).any():
        raise HostError(f"a batch index is outside 0..{n - 1}")
    image = widened(x)
    out = np.zeros(checked_shape((len(rois), channels, rows, columns)), image.dtype)
    corners = rois * float(call.attr("spatial_scale", 1.0)) - (0.5 if half else 0.0)
    for i, (x1, y1, x2, y2) in enumerate(corners):
        roi_h, roi_w = y2 - y1, x2 - x1
        if not half:
            roi_h, roi_w = max(roi_h, 1.0), max(roi_w, 1.0)
        per_h = ratio if ratio > 0 else int(np.ceil(roi_h / rows))
        per_w = ratio if ratio > 0 else int(np.ceil(roi_w / columns))
        if per_h <= 0 or per_w <= 0:
            continue
        checked_shape((channels, rows * per_h, columns * per_w))
        yl, yh, wl, wh = _bilinear(y1, roi_h, rows, per_h, height)
        xl, xh, vl, vh = _bilinear(x1, roi_w, columns, per_w, width)
        picture = image[int(batches[i])]
        wl, wh = wl[:, None], wh[:, None]
        bins = (channels, rows, per_h, columns, per_w)
        if largest:
            low, high = picture[:, yl], picture[:, yh]
            taps = [low[:, :, xl] * wl * vl, low[:, :, xh] * wl * vh]
            taps += [high[:, :, xl] * wh * vl, high[:, :, xh] * wh * vh]
            out[i] = np.max(taps, axis=0).reshape(bins).max((2, 4))
        else:
            lines = picture[:, yl] * wl + picture[:, yh] * wh
            out[i] = (lines[:, :, xl] * vl + lines[:, :, xh] * vh).reshape(bins).mean((2, 4))
    return [out.astype(x.dtype)]


@operator("MaxRoiPool")
def max_roi_pool(call: Call) -> list[Value]:
    """Greatest value in each bin of each region (batch, x1, y1, x2, y2); empty bins are 0."""
    x, rois = call.tensor(0), call.tensor(1)
    rows, columns = call.required("pooled_shape")
    scale = float(call.attr("spatial_scale", 1.0))
    _, channels, height, width = x.shape
    out = np.zeros(checked_shape((len(rois), channels, rows, columns)), x.dtype)
    for i, roi in enumerate(rois.astype(np.float64)):
        batch = int(roi[0])
        if not 0 <= batch < x.shape[0]:
            raise HostError(f"batch index {batch} is outside 0..{x.shape[0] - 1}")
        # Halves are rounded away from zero.
        x1, y1, x2, y2 = (int(np.floor(abs(v) + 0.5) * np.sign(v)) for v in roi[1:] * scale)
        bin_h, bin_w = max(y2 - y1 + 1, 1) / rows, max(x2 - x1 + 1, 1) / columns
        for row in range(rows):
            top = min(max(int(np.floor(row * bin_h)) + y1, 0), height)
            bottom = min(max(int(np.ceil((row + 1) * bin_h)) + y1, 0), height)
            for column in range(columns):
                left = min(max(int(np.floor(column * bin_w)) + x1, 0), width)
                right = min(max(int(np.ceil((column + 1) * bin_w)) + x1, 0), width)
                if bottom > top and right > left:
                    out[i, :, row, column] = x[batch, :, top:bottom, left:right].max((1, 2))
    return [out]
