"""Segments of a few layers of a batch.

batch()        two convolutions, their sum, and a matrix of pixels, for 8 images
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.dialects.builtin import UnitAttr, i8
from xdsl.ir import SSAValue

from support.chain import rows
from support.segments import Segment
from tilewright.dialects.loop import AllocOp, ReshapeOp
from tilewright.dialects.types import memref, shape_of

SAME = rows(0, 1, 2, 3)


def look_up(s: Segment, x: SSAValue, y: SSAValue) -> None:
    """Element by element."""
    same, shape = rows(*range(len(shape_of(x)))), shape_of(x)
    s.nest(
        shape,
        [(x, same, None, None)],
        (y, same, None),
        accumulator=lambda k: k.table(k.block.args[0]),
    )


def convolution(s: Segment, x: SSAValue, y: SSAValue) -> None:
    """3 x 3 with a border of zero point 3."""
    n, h, w, channels = shape_of(x)
    outputs = shape_of(y)[3]
    s.nest(
        [n, h, w, outputs, 3, 3, channels],
        [
            (x, [{0: 1}, {1: 1, 4: 1}, {2: 1, 5: 1}, {6: 1}], [0, -1, -1, 0], 3),
            (s.weights([3, 3, channels, outputs]), rows(4, 5, 6, 3), None, None),
        ],
        (y, SAME, None),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(3, 0),
        chain=lambda k: k.requantize(k.block.args[0], [{3: 1}], [outputs]),
    )


def residual(s: Segment, x: SSAValue, other: SSAValue, y: SSAValue) -> None:
    """A sum, element by element."""
    scale = {"ma": 1 << 20, "mb": 700_000, "multiplier": 1 << 30, "shift": 50}
    s.nest(
        list(shape_of(x)),
        [(x, SAME, None, None), (other, SAME, None, None)],
        (y, SAME, None),
        accumulator=lambda k: k.apply("qadd", list(k.block.args), za=3, zb=-4, zp=7, **scale),
    )


def dense(s: Segment, x: SSAValue, y: SSAValue) -> None:
    """A product with weights, row by row."""
    (m, k), n = shape_of(x), shape_of(y)[1]
    s.nest(
        [m, n, k],
        [(x, rows(0, 2), None, None), (s.weights([k, n]), rows(2, 1), None, None)],
        (y, rows(0, 1), None),
        reduce="add",
        reduced=[2],
        zero_points=(-7, 0),
        chain=lambda c: c.requantize(c.block.args[0], [{1: 1}], [n]),
    )


def reshape(s: Segment, x: SSAValue, shape: Sequence[int]) -> SSAValue:
    """`x` in another shape."""
    op = ReshapeOp(x, memref(shape, i8, "dram"))
    s.block.add_op(op)
    return op.result


def local(*values: SSAValue) -> None:
    """Let nothing but the segment use these buffers."""
    for value in values:
        assert isinstance(value.owner, AllocOp)
        value.owner.attributes["local"] = UnitAttr()


def batch(images: int = 8, extent: int = 8, channels: int = 16) -> Segment:
    """Two convolutions, the sum of both, pixels as rows of a matrix; all but the last `local`."""
    s, shape = Segment(), [images, extent, extent, channels]
    x, y, z, t = (s.buffer(shape) for _ in range(4))
    convolution(s, x, y)
    convolution(s, y, z)
    residual(s, z, y, t)
    dense(s, reshape(s, t, [prod(shape[:3]), channels]), s.buffer([prod(shape[:3]), 8]))
    local(y, z, t)
    return s
