"""GridSample: sampling of an image at computed points, by gathering pixels.

The image becomes rows of channels, [N * H * W, C]; each of the four pixels around a point is a
gather of rows at computed positions, weighted and summed.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from ....dialects.graph import GatherOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .elementwise import same_type


@rule("GridSample")
def grid_sample(node: Node) -> Value:
    """Bilinear or nearest sampling of images; padding by zeros, the border, or reflection."""
    shape, grid = node.shape(0), node.shape(1)
    mode, padding = node.text("mode", "bilinear"), node.text("padding_mode", "zeros")
    if len(shape) != 4:
        raise node.unsupported(
            f"sampling of {len(shape) - 2} spatial axes", "only images can be sampled"
        )
    if len(grid) != 4 or grid[3] != 2 or grid[0] != shape[0]:
        raise node.error(f"a grid of shape {list(grid)} does not fit {list(shape)}")
    if mode not in ("bilinear", "linear", "nearest"):
        raise node.unsupported(f"mode {mode}", "use linear or nearest")
    if padding not in ("zeros", "border", "reflection"):
        raise node.error(f"unknown padding_mode {padding!r}")
    n, c, h, w = shape
    same_type(node, node.x(0), node.x(1))
    x, y = (_coordinate(node, i, extent, mode, padding) for i, extent in ((0, w), (1, h)))
    rows = node.reshape(node.transpose(node.x(0), (0, 2, 3, 1)), (n * h * w, c))
    base = node.constant((np.arange(node.bounded(n)) * h * w).reshape(n, 1, 1))
    total: SSAValue | None = None
    for row, row_weight in _neighbours(node, y, h, mode):
        for column, weight in _neighbours(node, x, w, mode):
            line = node.map("mul", row, node.scalar(w, row))
            at = node.map("add", base, node.map("add", line, column))
            both = node.reshape(node.map("mul", row_weight, weight), (*grid[:3], 1))
            term = node.map("mul", node.emit(GatherOp(rows, at, 0)), both)
            total = term if total is None else node.map("add", total, term)
    assert total is not None
    return node.transpose(total, (0, 3, 1, 2))


def _coordinate(node: Node, which: int, extent: int, mode: str, padding: str) -> SSAValue:
    """Pixel coordinate from the grid's -1 ... 1, moved inside unless padded by zeros."""
    g = node.slice_axis(node.x(1), 3, which, 1)
    g = node.reshape(g, shape_of(g)[:3])
    one = node.map("add", g, node.scalar(1, g))
    if node.integer("align_corners", 0):
        x, low, high = node.map("mul", one, node.scalar((extent - 1) / 2, g)), 0.0, extent - 1.0
    else:
        scaled = node.map("mul", one, node.scalar(extent, g))
        x = node.map("mul", node.map("sub", scaled, node.scalar(1, g)), node.scalar(0.5, g))
        low, high = -0.5, extent - 0.5
    if mode == "nearest":
        x = node.map("round", x)
    if padding == "reflection" and high > low:
        width = node.scalar(high - low, g)
        turned = node.map(
            "mod", node.map("sub", x, node.scalar(low, g)), node.scalar(2 * (high - low), g)
        )
        away = node.map("abs", node.map("sub", turned, width))
        x = node.map("add", node.map("sub", width, away), node.scalar(low, g))
    if padding == "zeros":
        return x
    return (
        node.map("clip", x, min=-1.0, max=float(extent))
        if padding == "reflection"
        else node.map("clip", x, min=0.0, max=extent - 1.0)
    )


def _neighbours(node: Node, x: SSAValue, extent: int, mode: str) -> list[tuple[SSAValue, SSAValue]]:
    """(index, weight) of the pixels beside a coordinate; those outside count only unless padded."""
    if mode == "nearest":
        return [
            _inside(
                node, node.map("round", x), node.broadcast(node.scalar(1, x), shape_of(x)), extent
            )
        ]
    floor = node.map("floor", x)
    part = node.map("sub", x, floor)
    rest = node.map("sub", node.scalar(1, x), part)
    return [
        _inside(node, floor, rest, extent),
        _inside(node, node.map("add", floor, node.scalar(1, x)), part, extent),
    ]


def _inside(node: Node, at: SSAValue, weight: SSAValue, extent: int) -> tuple[SSAValue, SSAValue]:
    index = node.map("clip", at, min=0.0, max=extent - 1.0)
    if node.text("padding_mode", "zeros") == "zeros":
        weight = node.map("select", node.map("equal", index, at), weight, node.scalar(0, weight))
    return node.cast(index, i64), weight
