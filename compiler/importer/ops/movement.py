"""Data movement: shapes, transposes, concatenation, padding, depth and space."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xdsl.ir import SSAValue

from ....dialects.graph import broadcast_shapes
from ....dialects.types import shape_of
from ..node import Constant, Node, Value, rule
from .elementwise import same_type


def reshaped(node: Node, shape: Sequence[int]) -> Value:
    """Input 0 in another shape; what is known stays known."""
    value = node.value()
    if math.prod(shape) != math.prod(node.shape()) or min(shape, default=0) < 0:
        raise node.error(f"{list(node.shape())} cannot be reshaped to {list(shape)}")
    return value.array.reshape(shape) if isinstance(value, Constant) else node.reshape(value, shape)


@rule("Reshape")
def reshape(node: Node) -> Value:
    """0 keeps an extent (unless allowzero), -1 is what remains."""
    wanted = node.integers("shape") if node.opset < 5 else node.static_ints(1, "the shape")
    x = node.shape()
    out = list(wanted)
    if not node.integer("allowzero", 0):
        for i, d in enumerate(wanted):
            if d == 0:
                if i >= len(x):
                    raise node.error(
                        f"0 at position {i} of {wanted} has no extent of {list(x)} to keep"
                    )
                out[i] = x[i]
    if out.count(-1) > 1 or any(d < -1 for d in out):
        raise node.error(f"{list(x)} cannot be reshaped to {wanted}")
    if -1 in out:
        rest = -math.prod(out)
        if rest == 0 or math.prod(x) % rest:
            raise node.error(f"{list(x)} cannot be reshaped to {wanted}")
        out[out.index(-1)] = math.prod(x) // rest
    return reshaped(node, out)


@rule("Flatten")
def flatten(node: Node) -> Value:
    """To a matrix, split before an axis."""
    shape = node.shape()
    axis = node.axis(node.integer("axis", 1), len(shape), inclusive=True)
    return reshaped(node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def axes_of(node: Node, i: int = 1) -> list[int] | None:
    """Axes from the attribute `axes` or, in later opsets, from input `i`."""
    if node.has_attr("axes"):
        return node.integers("axes")
    return node.static_ints(i, "the axes") if node.has(i) else None


@rule("Squeeze")
def squeeze(node: Node) -> Value:
    """Drop axes of extent 1 (all of them if not said which)."""
    shape, given = node.shape(), axes_of(node)
    axes = (
        [i for i, d in enumerate(shape) if d == 1]
        if given is None
        else node.axes(given, len(shape))
    )
    if any(shape[a] != 1 for a in axes):
        raise node.error(f"axes {axes} of {list(shape)} are not all of extent 1")
    return reshaped(node, [d for i, d in enumerate(shape) if i not in axes])


@rule("Unsqueeze")
def unsqueeze(node: Node) -> Value:
    """Insert axes of extent 1, positions counted in the result."""
    given = axes_of(node)
    if given is None:
        raise node.error("the axes are missing")
    axes = node.axes(given, len(node.shape()) + len(given))
    shape = list(node.shape())
    for axis in axes:
        shape.insert(axis, 1)
    return reshaped(node, shape)


@rule("Transpose")
def transpose(node: Node) -> Value:
    """Permute axes; reversed by default."""
    rank = len(node.shape())
    perm = node.integers("perm", range(rank - 1, -1, -1))
    if sorted(perm) != list(range(rank)):
        raise node.error(f"attribute 'perm' {perm} is not a permutation of {rank} axes")
    return node.transpose(node.x(), perm)


@rule("Expand")
def expand(node: Node) -> Value:
    """Broadcast both ways."""
    wanted = node.static_ints(1, "the shape")
    if min(wanted, default=0) < 0:
        raise node.error(f"the shape {wanted} is negative")
    shape = broadcast_shapes(node.shape(), wanted)
    return node.value() if shape == node.shape() else node.broadcast(node.x(), shape)


@rule("Tile")
def tile(node: Node) -> Value:
    """Repeat: [d] -> [1, d] -> [r, d] -> [r * d]."""
    shape = node.shape()
    if node.opset < 6:
        repeats = [1] * len(shape)
        repeats[node.axis(int(node.static_scalar(2, "the axis")), len(shape))] = int(
            node.static_scalar(1, "the number of tiles")
        )
    else:
        repeats = node.static_ints(1, "the repeats")
    if len(repeats) != len(shape) or min(repeats, default=0) < 0:
        raise node.error(f"repeats {repeats} do not fit {list(shape)}")
    return tiled(node, node.x(), repeats)


def tiled(node: Node, x: SSAValue, repeats: Sequence[int]) -> SSAValue:
    """`x` repeated along each axis."""
    split: list[int] = []
    spread: list[int] = []
    for d, r in zip(shape_of(x), repeats, strict=True):
        split += [d] if r == 1 else [1, d]
        spread += [d] if r == 1 else [r, d]
    if not any(r != 1 for r in repeats):
        return x
    wide = node.broadcast(node.reshape(x, split), spread)
    return node.reshape(wide, [d * r for d, r in zip(shape_of(x), repeats, strict=True)])


@rule("Concat")
def concat(node: Node) -> Value:
    """Join along an axis; operands without elements are left out."""
    rank = len(node.shape())
    axis = node.axis(node.integer("axis", 1 if node.opset < 4 else None), rank)
    shapes = [node.shape(i) for i in range(len(node.inputs))]
    if any(
        len(s) != rank or any(s[a] != shapes[0][a] for a in range(rank) if a != axis)
        for s in shapes
    ):
        raise node.error(f"shapes {[list(s) for s in shapes]} do not join along axis {axis}")
    kept = [i for i, s in enumerate(shapes) if s[axis]] or [0]
    args = [node.x(i) for i in kept]
    same_type(node, *args)
    return node.value(kept[0]) if len(args) == 1 else node.concat(args, axis)


@rule("DepthToSpace")
def depth_to_space(node: Node) -> Value:
    """Channels to blocks of pixels, depth first (DCR) or column first (CRD)."""
    x, b, mode = node.x(), node.integer("blocksize"), node.text("mode", "DCR")
    n, c, h, w = _image(node)
    if b < 1 or c % (b * b) or mode not in ("DCR", "CRD"):
        raise node.error(f"{c} channels do not make blocks of {b} x {b} in mode {mode}")
    if mode == "DCR":
        split = node.transpose(node.reshape(x, (n, b, b, c // (b * b), h, w)), (0, 3, 4, 1, 5, 2))
    else:
        split = node.transpose(node.reshape(x, (n, c // (b * b), b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return node.reshape(split, (n, c // (b * b), h * b, w * b))


@rule("SpaceToDepth")
def space_to_depth(node: Node) -> Value:
    """Blocks of pixels to channels, depth first (DCR) or column first (CRD)."""
    x, b, mode = node.x(), node.integer("blocksize"), node.text("mode", "DCR")
    n, c, h, w = _image(node)
    if b < 1 or h % b or w % b or mode not in ("DCR", "CRD"):
        raise node.error(f"{h} x {w} pixels do not divide into blocks of {b} x {b} in mode {mode}")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    split = node.transpose(node.reshape(x, (n, c, h // b, b, w // b, b)), order)
    return node.reshape(split, (n, c * b * b, h // b, w // b))


def _image(node: Node) -> tuple[int, int, int, int]:
    shape = node.shape()
    if len(shape) != 4:
        raise node.error(f"the input must have rank 4, not shape {list(shape)}")
    return shape[0], shape[1], shape[2], shape[3]


@rule("Pad")
def pad(node: Node) -> Value:
    """Pad in any mode; negative amounts crop."""
    shape, rank = node.shape(), len(node.shape())
    if node.opset < 11:
        pads, value = (
            node.integers("paddings" if node.opset < 2 else "pads"),
            node.real("value", 0.0, infinite=True),
        )
    else:
        pads = node.static_ints(1, "the pads")
        value = float(node.static_scalar(2, "the padding value")) if node.has(2) else 0.0
    given = node.static_ints(3, "the axes") if node.has(3) else list(range(rank))
    axes = [node.axis(a, rank) for a in given]
    if len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        raise node.error(f"{len(pads)} pads do not fit {len(axes)} axes")
    low, high = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        low[axis], high[axis] = pads[i], pads[len(axes) + i]
    mode = node.text("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise node.error(f"unknown mode {mode!r}")
    for d, a, b in zip(shape, low, high, strict=True):
        if d + min(a, 0) + min(b, 0) < 0 or (mode == "reflect" and max(a, b) >= max(d, 1)):
            raise node.error(f"pads {pads} do not fit {list(shape)} in mode {mode}")
    return node.pad(node.x(), low, high, mode, value)


@rule("Crop")
def crop(node: Node) -> Value:
    """Experimental operator of opset 1: cut a border (left, top, right, bottom) off an image."""
    n, c, h, w = _image(node)
    left, top, right, bottom = node.integers("border")
    if node.has_attr("scale"):
        height, width = node.integers("scale")
    else:
        height, width = h - top - bottom, w - left - right
    return node.slice(node.x(), (0, 0, top, left), (n, c, height, width))
