"""The indices of MaxPool, and what puts windows back: MaxUnpool and Col2Im.

Windows are gathered by constant positions of their elements, [outputs, elements of a window]; the
first maximum along the window names the position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import ArgReduceOp, GatherOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .scatter import combined, scattered_by_data
from .windows import Window


def _positions(spatial: Sequence[int], frame: Window) -> tuple[Array, tuple[int, ...]]:
    """Flat position of each element of each window (-1 outside), and the extents of the outputs."""
    n, total = len(spatial), np.zeros((1, 1), np.int64)
    inside, outputs = np.ones((1, 1), bool), list[int]()
    for i, extent in enumerate(spatial):
        taps = np.arange(frame.kernel[i]) * frame.dilations[i]
        room = extent + frame.pads[i] + frame.pads[n + i] - taps[-1] - 1
        outputs.append(room // frame.strides[i] + 1)
        starts = np.arange(outputs[-1]) * frame.strides[i] - frame.pads[i]
        at = starts[:, None] + taps  # [outputs, taps] of this axis
        shape = (len(total), outputs[-1], total.shape[1], len(taps))
        total = (total[:, None, :, None] * extent + at[None, :, None, :]).reshape(
            shape[0] * shape[1], -1
        )
        here = (at >= 0) & (at < extent)
        inside = (inside[:, None, :, None] & here[None, :, None, :]).reshape(total.shape)
    return np.where(inside, total, -1), tuple(outputs)


def max_indices(node: Node, x: SSAValue, frame: Window) -> SSAValue:
    """Flat position in `x` of the maximum of each window (by columns if `storage_order`)."""
    shape = shape_of(x)
    planes, pixels, spatial = shape[0] * shape[1], math.prod(shape[2:]), shape[2:]
    node.bounded(planes * pixels * math.prod(frame.kernel))
    places, outputs = _positions(spatial, frame)
    flat = node.reshape(x, (planes, pixels))
    dtype = node.dtype()
    least = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min  # pyright: ignore[reportArgumentType]
    wide = node.concat([flat, node.constant(np.full((planes, 1), least, dtype))], 1)
    windows = node.emit(
        GatherOp(wide, node.constant(np.where(places < 0, pixels, places)), 1)
    )  # [planes, outputs, elements]
    which = node.emit(ArgReduceOp(windows, "max", 2, 0))
    if node.integer("storage_order", 0):
        order = np.arange(pixels).reshape(spatial[::-1]).transpose().reshape(-1)
        places = np.where(places < 0, -1, order[places])
    count, size = places.shape
    row = node.constant(np.arange(count) * size)
    flat_places = node.constant(places.reshape(-1))
    found = node.emit(GatherOp(flat_places, node.map("add", which, row), 0))
    base = node.constant((np.arange(planes) * pixels).reshape(planes, 1))
    return node.reshape(node.map("add", found, base), (*shape[:2], *outputs))


@rule("MaxUnpool")
def max_unpool(node: Node) -> Value:
    """Each element at the position its index names, zero elsewhere."""
    shape, n = node.shape(), len(node.shape()) - 2
    kernel = node.integers("kernel_shape")
    strides, pads = node.integers("strides", [1] * n), node.integers("pads", [0] * 2 * n)
    if len(kernel) != n or len(strides) != n or len(pads) != 2 * n or node.shape(1) != shape:
        raise node.error(f"a window of {kernel} does not fit {list(shape)}")
    inferred = [
        (d - 1) * s - pads[i] - pads[n + i] + k
        for i, (d, s, k) in enumerate(zip(shape[2:], strides, kernel, strict=True))
    ]
    full = [*shape[:2], *inferred]
    wanted = node.static_ints(2, "the output shape") if node.has(2) else full
    if len(wanted) != n + 2 or any(w < f for w, f in zip(wanted, full, strict=True)):
        raise node.error(f"the output shape {wanted} is less than {full}")
    size = math.prod(full)
    target = node.reshape(node.x(1), (math.prod(shape),))
    zeros = node.broadcast(node.scalar(0, node.x()), (size,))
    updates = node.reshape(node.x(), (math.prod(shape),))
    y = node.reshape(scattered_by_data(node, target, zeros, updates), full)
    return node.pad(y, [0] * (n + 2), [w - f for w, f in zip(wanted, full, strict=True)])


@rule("Col2Im")
def col_to_im(node: Node) -> Value:
    """Windows [N, C * elements, L] added up where they overlap."""
    shape = node.shape()
    image = node.static_ints(1, "the image shape")
    block = node.static_ints(2, "the block shape")
    n = len(image)
    frame = Window(
        block,
        node.integers("strides", [1] * n),
        node.integers("dilations", [1] * n),
        node.integers("pads", [0] * 2 * n),
        [0] * n,
    )
    lists = (frame.kernel, frame.strides, frame.dilations)
    if any(len(v) != n or min(v) < 1 for v in lists) or len(frame.pads) != 2 * n or min(image) < 1:
        raise node.error(f"blocks of {block} do not fit an image of {image}")
    elements = math.prod(block)
    places, outputs = _positions(image, frame)
    if len(shape) != 3 or shape[1] % elements or math.prod(outputs) != shape[2]:
        raise node.error(f"{list(shape)} are not blocks of {block} in an image of {image}")
    planes, pixels = shape[0] * (shape[1] // elements), math.prod(image)
    rows = node.reshape(node.x(), (planes, elements * shape[2]))
    position = places.T.reshape(-1)  # [elements, L], as the rows are laid out
    updates = node.transpose(rows, (1, 0))
    zeros = node.broadcast(node.scalar(0, updates), (pixels, planes))
    total = node.transpose(combined(node, zeros, updates, position, "add"), (1, 0))
    return node.reshape(total, (shape[0], shape[1] // elements, *image))
