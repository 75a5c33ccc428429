"""Bilinear sampling at computed places: deformable convolution and region-of-interest alignment.

The feature map becomes rows of channels; each of the four pixels around a place is a gather of
rows at computed positions, weighted and summed.  A deformable convolution is then one matrix
product with the sampled values; the samples of a region are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from ....dialects.graph import GatherOp, MatMulOp, ReduceOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .convolution import conv_window
from .elementwise import same_type

Neighbour = tuple[SSAValue, SSAValue]
"""Index (real) and weight of a pixel beside a coordinate."""


def _corners(
    node: Node,
    rows: SSAValue,
    base: SSAValue,
    axes: Sequence[Sequence[Neighbour]],
    width: int,
) -> list[SSAValue]:
    """The weighted pixels around each place: [*places, channels]."""
    out: list[SSAValue] = []
    for row, row_weight in axes[0]:
        for column, weight in axes[1]:
            line = node.map("add", node.map("mul", row, node.scalar(width, row)), column)
            at = node.map("add", node.cast(line, i64), base)
            both = node.map("mul", row_weight, weight)
            both = node.reshape(both, (*shape_of(both), 1))
            out.append(node.map("mul", node.emit(GatherOp(rows, at, 0)), both))
    return out


def _total(node: Node, terms: Sequence[SSAValue], fn: str = "add") -> SSAValue:
    total = terms[0]
    for term in terms[1:]:
        total = node.map(fn, total, term)
    return total


def _zero_padded(node: Node, at: SSAValue, extent: int) -> list[Neighbour]:
    """The two pixels beside a coordinate; those outside weigh nothing."""
    floor = node.map("floor", at)
    part = node.map("sub", at, floor)
    one = node.scalar(1, at)
    out: list[Neighbour] = []
    for index, weight in (
        (floor, node.map("sub", one, part)),
        (node.map("add", floor, one), part),
    ):
        inside = node.map("clip", index, min=0.0, max=extent - 1.0)
        is_in = node.map("equal", inside, index)
        out.append((inside, node.map("select", is_in, weight, node.scalar(0, weight))))
    return out


@rule("DeformConv")
def deform_conv(node: Node) -> Value:
    """Convolution whose taps are moved by offsets, and weighted by a mask."""
    x, w, offset = node.x(0), node.x(1), node.x(2)
    same_type(node, x, w, offset)
    if len(node.shape()) != 4:
        raise node.unsupported(f"an input of shape {list(node.shape())}", "images only")
    frame = conv_window(node, node.shape(0), node.shape(1))
    (n, c, h, width), (outputs, per_group, kh, kw) = node.shape(0), node.shape(1)
    group, offsets = node.integer("group", 1), node.integer("offset_group", 1)
    taps, (oh, ow) = kh * kw, node.shape(2)[2:]
    if offsets < 1 or c % offsets or node.shape(2)[:2] != (n, offsets * taps * 2):
        raise node.error(f"offsets of shape {list(node.shape(2))} do not fit {[n, c, h, width]}")
    for i, (size, extent, k) in enumerate(((oh, h, kh), (ow, width, kw))):
        room = extent + frame.pads[i] + frame.pads[i + 2] - (k - 1) * frame.dilations[i] - 1
        if size != room // frame.strides[i] + 1:
            raise node.error(f"offsets of shape {list(node.shape(2))} do not fit the window")
    node.bounded(taps * oh * ow)
    node.bounded(n * c * taps * oh * ow)
    moved = node.reshape(offset, (n, offsets, taps, 2, oh * ow))
    coordinates: list[list[Neighbour]] = []
    for i, extent in enumerate((h, width)):
        steps = np.arange((kh, kw)[i]) * frame.dilations[i]
        outs = np.arange((oh, ow)[i]) * frame.strides[i] - frame.pads[i]
        tap = np.repeat(steps, kw) if i == 0 else np.tile(steps, kh)
        out = np.repeat(outs, ow) if i == 0 else np.tile(outs, oh)
        grid = (tap[:, None] + out[None, :]).astype(node.dtype())
        by = node.reshape(node.slice_axis(moved, 3, i, 1), (n, offsets, taps, oh * ow))
        coordinates.append(_zero_padded(node, node.map("add", by, node.constant(grid)), extent))
    split = node.reshape(x, (n * offsets, c // offsets, h * width))
    rows = node.reshape(node.transpose(split, (0, 2, 1)), (n * offsets * h * width, c // offsets))
    base = (np.arange(n * offsets) * h * width).reshape(n, offsets, 1, 1)
    corners = _corners(node, rows, node.constant(base), coordinates, width)
    sampled = _total(node, corners)  # [n, offsets, taps, pixels, c / offsets]
    if node.has(4):
        mask = node.reshape(node.x(4), (n, offsets, taps, oh * ow, 1))
        sampled = node.map("mul", sampled, mask)
    columns = node.transpose(sampled, (0, 1, 4, 2, 3))
    columns = node.reshape(columns, (n, group, per_group * taps, oh * ow))
    weights = node.reshape(w, (group, outputs // group, per_group * taps))
    y = node.reshape(node.emit(MatMulOp(weights, columns)), (n, outputs, oh, ow))
    if node.has(3):
        y = node.map("add", y, node.reshape(node.x(3), (outputs, 1, 1)))
    return y


@rule("RoiAlign")
def roi_align(node: Node) -> Value:
    """Samples on a grid in each bin of each region, averaged (or their greatest)."""
    x, (n, c, h, width), (count, _) = node.x(), node.shape(0), node.shape(1)
    samples, mode = node.integer("sampling_ratio", 0), node.text("mode", "avg")
    if samples < 1:
        raise node.unsupported(
            "how many samples it takes depends on the size of the regions (sampling_ratio = 0)",
            "export with a positive sampling_ratio",
        )
    half = node.opset >= 16 and (
        node.text("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    )
    same_type(node, x, node.x(1))
    sizes = (node.integer("output_height", 1), node.integer("output_width", 1))
    scale, shift = node.real("spatial_scale", 1.0), 0.5 if half else 0.0
    ends = [
        node.map(
            "sub",
            node.map("mul", node.slice_axis(node.x(1), 1, i, 1), node.scalar(scale, x)),
            node.scalar(shift, x),
        )
        for i in range(4)
    ]
    axes: list[list[Neighbour]] = []
    for axis, (size, extent) in enumerate(zip(sizes, (h, width), strict=True)):
        begin, end = ends[1 - axis], ends[3 - axis]
        length = node.map("sub", end, begin)
        if not half:
            length = node.map("maximum", length, node.scalar(1, length))
        places = (np.arange(size)[:, None] + (np.arange(samples) + 0.5) / samples).reshape(-1)
        steps = node.constant((places / size).astype(node.dtype()))
        at = node.map("add", begin, node.map("mul", length, steps))  # [count, size * samples]
        shape = [count, 1, 1]
        shape[1 + axis] = size * samples
        axes.append(_beside(node, node.reshape(at, shape), extent))
    node.bounded(count * c * math.prod(sizes) * samples * samples)
    rows = node.reshape(node.transpose(x, (0, 2, 3, 1)), (n * h * width, c))
    batch = node.cast(node.x(2), i64)
    base = node.map("mul", batch, node.scalar(h * width, batch))
    corners = _corners(node, rows, node.reshape(base, (count, 1, 1)), axes, width)
    total = _total(node, corners, "add" if mode == "avg" else "maximum")
    split = node.reshape(total, (count, sizes[0], samples, sizes[1], samples, c))
    kind = "mean" if mode == "avg" else "max"
    return node.transpose(node.emit(ReduceOp(split, kind, [2, 4], 0)), (0, 3, 1, 2))


def _beside(node: Node, at: SSAValue, extent: int) -> list[Neighbour]:
    """The two pixels beside a coordinate, moved inside; beyond one pixel outside, no weight."""
    zero, one = node.scalar(0, at), node.scalar(1, at)
    beyond = node.map(
        "or",
        node.map("less", at, node.scalar(-1, at)),
        node.map("greater", at, node.scalar(extent, at)),
    )
    inside = node.map("clip", at, min=0.0, max=extent - 1.0)
    low = node.map("floor", inside)
    high = node.map("clip", node.map("add", low, one), min=0.0, max=extent - 1.0)
    part = node.map("sub", inside, low)
    rest = node.map("sub", one, part)
    return [
        (index, node.map("select", beyond, zero, weight))
        for index, weight in ((low, rest), (high, part))
    ]
