"""Resize and Upsample.

`graph.resize` resamples the axes after the second.  Where other axes change (channels-last
exports), the axes that change are moved to the end, and back.  What it lacks, `resampling` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from ....dialects.graph import ResizeOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .resampling import Axis, Filter, resample

_COORDINATES = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
)
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True)
class Resampling:
    """Result extents and scale of each axis, and how to interpolate."""

    sizes: Sequence[int]
    scales: Sequence[float]
    mode: str
    coordinates: str = "asymmetric"
    nearest: str = "floor"
    cubic_coeff: float = -0.75


@rule("Upsample")
def upsample(node: Node) -> Value:
    """Resize of opset < 10: asymmetric coordinates, rounded down."""
    shape = node.shape()
    if node.opset < 7:
        if len(shape) != 4:
            raise node.error(f"the input must have rank 4, not shape {list(shape)}")
        if node.has_attr("scales"):
            scales = node.reals("scales")
        else:
            scales = [1.0, 1.0, node.real("height_scale"), node.real("width_scale")]
    else:
        scales = node.reals("scales") if node.opset < 9 else _scales(node, 1)
    mode = node.text("mode", "nearest")
    mode = {"bilinear": "linear", "trilinear": "linear"}.get(mode, mode)
    return _resize(node, Resampling(_extents(node, shape, scales), scales, mode))


@rule("Resize")
def resize(node: Node) -> Value:
    """Resampling by scales or to sizes."""
    shape, mode = node.shape(), node.text("mode", "nearest")
    if node.opset < 11:
        scales = _scales(node, 1)
        return _resize(node, Resampling(_extents(node, shape, scales), scales, mode))
    axes = [node.axis(a, len(shape)) for a in node.integers("axes", range(len(shape)))]
    by_size = node.has(3) and node.shape(3) != (0,)
    sizes, scales = list(shape), [1.0] * len(shape)
    if by_size:
        wanted = node.static_ints(3, "the sizes")
        if len(wanted) != len(axes):
            raise node.error(f"sizes {wanted} do not fit axes {axes}")
        for axis, size, scale in zip(axes, *_kept_ratio(node, shape, axes, wanted), strict=True):
            sizes[axis], scales[axis] = size, scale
    else:
        given = _scales(node, 2)
        if len(given) != len(axes):
            raise node.error(f"scales {given} do not fit axes {axes}")
        for axis, scale in zip(axes, given, strict=True):
            scales[axis] = scale
        sizes = _extents(node, shape, scales)
    coordinates = node.text("coordinate_transformation_mode", "half_pixel")
    nearest = node.text("nearest_mode", "round_prefer_floor")
    if coordinates not in (*_COORDINATES, "tf_half_pixel_for_nn", "tf_crop_and_resize"):
        raise node.error(f"unknown coordinate_transformation_mode {coordinates!r}")
    if nearest not in _NEAREST or mode not in ("nearest", "linear", "cubic"):
        raise node.error(f"unknown mode {mode!r} or nearest_mode {nearest!r}")
    how = Filter(
        mode,
        coordinates,
        nearest,
        node.real("cubic_coeff_a", -0.75),
        bool(node.integer("exclude_outside", 0)) and mode == "cubic",
        bool(node.integer("antialias", 0)) and mode != "nearest" and min(scales) < 1,
        node.real("extrapolation_value", 0.0),
    )
    if how.exclude_outside or how.antialias or coordinates not in _COORDINATES:
        if min(sizes, default=1) < 1:
            raise node.error(f"the result of shape {sizes} has no elements")
        regions = _regions(node, axes) if coordinates == "tf_crop_and_resize" else {}
        moved = [
            Axis(a, sizes[a], scales[a], regions.get(a, (0.0, 1.0)))
            for a in range(len(shape))
            if sizes[a] != shape[a] or scales[a] != 1 or a in regions
        ]
        return resample(node, node.x(), moved, how)
    return _resize(
        node,
        Resampling(sizes, scales, mode, coordinates, nearest, node.real("cubic_coeff_a", -0.75)),
    )


def _regions(node: Node, axes: Sequence[int]) -> dict[int, tuple[float, float]]:
    """The part of each axis that is taken, where it is not the whole."""
    roi = node.static(1, "the region")
    if roi.shape != (2 * len(axes),):
        raise node.error(f"a region of shape {list(roi.shape)} does not fit axes {list(axes)}")
    ends = [(float(roi[i]), float(roi[len(axes) + i])) for i in range(len(axes))]
    return {a: end for a, end in zip(axes, ends, strict=True) if end != (0.0, 1.0)}


def _scales(node: Node, i: int) -> list[float]:
    array = node.static(i, "the scales")
    if array.ndim != 1 or array.dtype.kind != "f":
        raise node.error(
            f"the scales must be a list of reals, not {array.dtype.name}{list(array.shape)}"
        )
    return [float(v) for v in array]


def _extents(node: Node, shape: Sequence[int], scales: Sequence[float]) -> list[int]:
    if len(scales) != len(shape) or not all(math.isfinite(s) and s > 0 for s in scales):
        raise node.error(f"scales {list(scales)} do not fit {list(shape)}")
    return [math.floor(d * s) for d, s in zip(shape, scales, strict=True)]


def _kept_ratio(
    node: Node, shape: Sequence[int], axes: Sequence[int], wanted: Sequence[int]
) -> tuple[list[int], list[float]]:
    """Sizes and scales after `keep_aspect_ratio_policy`."""
    if min(wanted) < 1:
        raise node.error(f"sizes {list(wanted)} must be positive")
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    factors = [size / shape[axis] for axis, size in zip(axes, wanted, strict=True)]
    if policy == "stretch":
        return list(wanted), factors
    if policy not in ("not_larger", "not_smaller"):
        raise node.error(f"unknown keep_aspect_ratio_policy {policy!r}")
    scale = min(factors) if policy == "not_larger" else max(factors)
    return [math.floor(shape[axis] * scale + 0.5) for axis in axes], [scale] * len(axes)


def _resize(node: Node, how: Resampling) -> Value:
    shape = node.shape()
    if how.mode not in ("nearest", "linear", "cubic"):
        raise node.error(f"unknown mode {how.mode!r}")
    if min(how.sizes, default=1) < 1:
        raise node.error(f"the result of shape {list(how.sizes)} has no elements")
    moved = [a for a in range(len(shape)) if how.sizes[a] != shape[a] or how.scales[a] != 1]
    if not moved:
        return node.value()
    if len(shape) > 2 and min(moved) >= 2:
        return _emit(node, node.x(), how, list(range(2, len(shape))))
    fixed = [a for a in range(len(shape)) if a not in moved]
    perm = fixed + moved
    last = node.reshape(
        node.transpose(node.x(), perm),
        (1, math.prod(shape[a] for a in fixed), *[shape[a] for a in moved]),
    )
    resized = node.reshape(_emit(node, last, how, moved), [how.sizes[a] for a in perm])
    return node.transpose(resized, [perm.index(a) for a in range(len(shape))])


def _emit(node: Node, x: SSAValue, how: Resampling, axes: Sequence[int]) -> SSAValue:
    assert len(shape_of(x)) == len(axes) + 2
    return node.emit(
        ResizeOp(
            x,
            [how.sizes[a] for a in axes],
            how.mode,
            [how.scales[a] for a in axes],
            coordinates=how.coordinates,
            nearest=how.nearest,
            cubic_coeff=how.cubic_coeff,
        )
    )
