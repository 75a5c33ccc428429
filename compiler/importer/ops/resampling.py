"""Resampling by constant weights: the forms of Resize that `graph.resize` does not have.

Each axis is resampled for itself, by a matrix product with a constant [out, in] matrix (or, for
nearest, a gather): antialiased, cropped, or with cubic weights that exclude the outside.  The
weights are those of the reference implementation of ONNX's Resize.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import GatherOp, MatMulOp
from ....dialects.types import element_of, is_float, shape_of
from ..node import Node


@dataclass(frozen=True)
class Axis:
    """One axis to resample; `roi` is its part that `tf_crop_and_resize` takes, in units of it."""

    axis: int
    size: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Filter:
    """How to interpolate."""

    mode: str
    coordinates: str
    nearest: str
    cubic_coeff: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation: float = 0.0


def _coordinates(extent: int, of: Axis, kind: str) -> Array:
    """Where each element of the result lies in the operand."""
    x = np.arange(of.size, dtype=np.float64)
    match kind:
        case "align_corners":
            return x * (extent - 1) / (of.size - 1) if of.size > 1 else np.zeros(1)
        case "asymmetric":
            return x / of.scale
        case "tf_crop_and_resize":
            begin, end = of.roi
            if of.size == 1:
                return np.array([(begin + end) * (extent - 1) / 2])
            return begin * (extent - 1) + x * (end - begin) * (extent - 1) / (of.size - 1)
        case "tf_half_pixel_for_nn":
            return (x + 0.5) / of.scale
        case "pytorch_half_pixel":
            return (x + 0.5) / of.scale - 0.5 if of.size > 1 else np.zeros(1)
        case "half_pixel_symmetric":
            offset = extent / 2 * (1 - of.size / (of.scale * extent))
            return offset + (x + 0.5) / of.scale - 0.5
        case _:
            return (x + 0.5) / of.scale - 0.5


def _cubic(distance: Array, a: float) -> Array:
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def weights(extent: int, of: Axis, how: Filter) -> Array:
    """[size, extent]: what each element of the result takes of each element of the axis."""
    x = _coordinates(extent, of, how.coordinates)
    squeeze = min(of.scale, 1.0) if how.antialias else 1.0
    reach = (1 if how.mode == "linear" else 2) / squeeze
    first = np.floor(x - reach).astype(np.int64) + 1
    taps = first[:, None] + np.arange(math.ceil(2 * reach) + 1)
    distance = (taps - x[:, None]) * squeeze
    value = (
        np.clip(1 - np.abs(distance), 0, None)
        if how.mode == "linear"
        else _cubic(distance, how.cubic_coeff)
    )
    outside = (taps < 0) | (taps >= extent)
    if how.exclude_outside:
        value = np.where(outside, 0.0, value)
    if how.exclude_outside or how.antialias:
        value = value / value.sum(1, keepdims=True)
    out = np.zeros((of.size, extent))
    rows = np.broadcast_to(np.arange(of.size)[:, None], taps.shape)
    np.add.at(out, (rows, np.clip(taps, 0, extent - 1)), value)
    return out


def nearest(extent: int, of: Axis, how: Filter) -> Array:
    """The element of the axis that each element of the result is."""
    x = _coordinates(extent, of, how.coordinates)
    rounded: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return np.clip(rounded[how.nearest](x), 0, extent - 1).astype(np.int64)


def resample(node: Node, x: SSAValue, axes: list[Axis], how: Filter) -> SSAValue:
    """`x` resampled along `axes`, one after the other, in f32 unless it is f64."""
    element, rank = element_of(x), len(shape_of(x))
    shape = shape_of(x)
    if how.mode == "nearest":
        for of in axes:
            places = nearest(shape[of.axis], of, how)
            x = node.emit(GatherOp(x, node.constant(places), of.axis))
    else:
        small = element in (f16, bf16) or not is_float(element)
        x = node.cast(x, f32) if small else x
        dtype = np.float32 if small else node.dtype()
        for of in axes:
            perm = [*(a for a in range(rank) if a != of.axis), of.axis]
            node.bounded(of.size * shape[of.axis])
            table = node.constant(weights(shape[of.axis], of, how).T.astype(dtype))
            moved = node.transpose(x, perm)
            rows = node.reshape(moved, (math.prod(shape_of(moved)[:-1]), shape[of.axis]))
            y = node.emit(MatMulOp(rows, table))
            y = node.reshape(y, (*shape_of(moved)[:-1], of.size))
            x = node.transpose(y, [perm.index(a) for a in range(rank)])
        if not is_float(element):
            limits = np.iinfo(node.dtype())  # pyright: ignore[reportArgumentType]
            whole = node.map("round", x) if how.antialias else x
            x = node.map("clip", whole, min=float(limits.min), max=float(limits.max))
        x = node.cast(x, element)
    if how.coordinates != "tf_crop_and_resize":
        return x
    for of in axes:
        at = _coordinates(shape[of.axis], of, how.coordinates)
        kept = (at >= 0) & (at <= shape[of.axis] - 1)
        if not kept.all():
            mask = kept.reshape(-1, *[1] * (rank - of.axis - 1))
            x = node.map("select", node.constant(mask), x, node.scalar(how.extrapolation, x))
    return x
