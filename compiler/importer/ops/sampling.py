"""GridSample: sampling of images and volumes at computed points, by gathering pixels.

The image becomes rows of channels, [N * H * W, C]; each of the pixels around a point (2 or, for
cubic sampling, 4 on every axis) is a gather of rows at computed positions, weighted and summed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from ....dialects.graph import GatherOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .elementwise import same_type
from .indexing import strides_of

Neighbour = tuple[SSAValue, SSAValue]
"""Index (real) and weight of a pixel beside a coordinate."""


@rule("GridSample")
def grid_sample(node: Node) -> Value:
    """Linear, cubic or nearest sampling; padding by zeros, the border, or reflection."""
    shape, grid = node.shape(0), node.shape(1)
    mode, padding = node.text("mode", "linear"), node.text("padding_mode", "zeros")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    n = len(shape) - 2
    if n < 1 or len(grid) != len(shape) or grid[-1] != n or grid[0] != shape[0]:
        raise node.error(f"a grid of shape {list(grid)} does not fit {list(shape)}")
    if mode not in ("linear", "cubic", "nearest"):
        raise node.error(f"unknown mode {mode!r}")
    if padding not in ("zeros", "border", "reflection"):
        raise node.error(f"unknown padding_mode {padding!r}")
    batch, channels, spatial = shape[0], shape[1], shape[2:]
    pixels = math.prod(spatial)
    same_type(node, node.x(0), node.x(1))
    axes = [
        _neighbours(node, _coordinate(node, n - 1 - i, extent), extent, mode, padding)
        for i, extent in enumerate(spatial)  # the grid names the last axis first
    ]
    last = node.transpose(node.x(0), (0, *range(2, n + 2), 1))
    rows = node.reshape(last, (batch * pixels, channels))
    base = np.arange(node.bounded(batch)) * pixels
    first = node.constant(base.reshape(batch, *[1] * n))
    total: SSAValue | None = None
    for corner in itertools.product(*axes):
        at, weight = first, corner[0][1]
        for (index, _), stride in zip(corner, strides_of(spatial), strict=True):
            step = node.cast(index, i64)
            step = step if stride == 1 else node.map("mul", step, node.scalar(stride, step))
            at = node.map("add", at, step)
        for _, other in corner[1:]:
            weight = node.map("mul", weight, other)
        weight = node.reshape(weight, (*grid[:-1], 1))
        term = node.map("mul", node.emit(GatherOp(rows, at, 0)), weight)
        total = term if total is None else node.map("add", total, term)
    assert total is not None
    return node.transpose(total, (0, n + 1, *range(1, n + 1)))


def _coordinate(node: Node, which: int, extent: int) -> SSAValue:
    """Pixel coordinate from the grid's -1 ... 1."""
    shape = node.shape(1)
    g = node.slice_axis(node.x(1), len(shape) - 1, which, 1)
    g = node.reshape(g, shape[:-1])
    one = node.map("add", g, node.scalar(1, g))
    if node.integer("align_corners", 0):
        return node.map("mul", one, node.scalar((extent - 1) / 2, g))
    scaled = node.map("mul", one, node.scalar(extent, g))
    return node.map("mul", node.map("sub", scaled, node.scalar(1, g)), node.scalar(0.5, g))


def _padded(node: Node, x: SSAValue, extent: int, padding: str) -> SSAValue:
    """A coordinate moved inside: not at all by zeros, to the border, or by reflection there."""
    if padding == "zeros":
        return x
    if padding == "border":
        return node.map("clip", x, min=0.0, max=extent - 1.0)
    low, high = (0.0, extent - 1.0) if node.integer("align_corners", 0) else (-0.5, extent - 0.5)
    if high > low:
        width = node.scalar(high - low, x)
        turned = node.map(
            "mod", node.map("sub", x, node.scalar(low, x)), node.scalar(2 * (high - low), x)
        )
        away = node.map("abs", node.map("sub", turned, width))
        x = node.map("add", node.map("sub", width, away), node.scalar(low, x))
    return node.map("clip", x, min=-1.0, max=float(extent))


def _neighbours(
    node: Node, x: SSAValue, extent: int, mode: str, padding: str
) -> Sequence[Neighbour]:
    """(index, weight) of the pixels beside a coordinate; those outside count only unless padded."""
    if mode == "cubic":  # each pixel is padded for itself
        floor = node.map("floor", x)
        weights = _cubic(node, node.map("sub", x, floor))
        pixels = [node.map("add", floor, node.scalar(i - 1, x)) for i in range(4)]
        return [
            _inside(node, _padded(node, pixel, extent, padding), weight, extent)
            for pixel, weight in zip(pixels, weights, strict=True)
        ]
    if mode == "nearest":
        at = _padded(node, node.map("round", x), extent, padding)
        weight = node.broadcast(node.scalar(1, x), shape_of(x))
        return [_inside(node, node.map("round", at), weight, extent)]
    x = _padded(node, x, extent, padding)
    floor = node.map("floor", x)
    part = node.map("sub", x, floor)
    rest = node.map("sub", node.scalar(1, x), part)
    return [
        _inside(node, floor, rest, extent),
        _inside(node, node.map("add", floor, node.scalar(1, x)), part, extent),
    ]


def _cubic(node: Node, t: SSAValue) -> list[SSAValue]:
    """Keys' weights (a = -0.75) of the pixels at -1, 0, 1 and 2, for the fraction t."""
    a = -0.75
    rest = node.map("sub", node.scalar(1, t), t)

    def polynomial(x: SSAValue, *coefficients: float) -> SSAValue:
        y = node.map("mul", x, node.scalar(coefficients[0], x))
        for c in coefficients[1:-1]:
            y = node.map("mul", node.map("add", y, node.scalar(c, x)), x)
        return node.map("add", y, node.scalar(coefficients[-1], x))

    def near(x: SSAValue) -> SSAValue:
        return polynomial(x, a + 2, -(a + 3), 0.0, 1.0)

    def far(x: SSAValue) -> SSAValue:
        beyond = node.map("add", x, node.scalar(1, x))
        return polynomial(beyond, a, -5 * a, 8 * a, -4 * a)

    return [far(t), near(t), near(rest), far(rest)]


def _inside(node: Node, at: SSAValue, weight: SSAValue, extent: int) -> Neighbour:
    index = node.map("clip", at, min=0.0, max=extent - 1.0)
    if node.text("padding_mode", "zeros") == "zeros":
        weight = node.map("select", node.map("equal", index, at), weight, node.scalar(0, weight))
    return index, weight
