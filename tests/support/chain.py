"""A segment under construction from layers that fit onto each other."""

from __future__ import annotations

from math import prod
from typing import Any

from hypothesis import strategies as st
from xdsl.dialects.builtin import UnitAttr, i8
from xdsl.ir import SSAValue

from support.segments import Row, Segment
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import AllocOp, NestOp, ReshapeOp, captured
from tilewright.dialects.types import element_of, memref, numpy_dtype, shape_of

EXTENTS = (1, 2, 5, 7, 8, 12)
CHANNELS = (1, 3, 4, 8, 16, 17)


def rows(*dims: int | None) -> list[Row]:
    """One row per axis: its dimension, or none."""
    return [{} if d is None else {d: 1} for d in dims]


class Chain:
    """A segment under construction, and the tensors (batch, h, w, c) that layers may read.

    `origin`: zero point of what lies outside tensors, equal for most consumers.
    """

    def __init__(self, draw: st.DrawFn, segment: Segment, batch: int = 1):
        self.draw, self.segment, self.batch = draw, segment, batch
        self.values: list[SSAValue] = []
        self.origin = self.pick([-128, 3])
        self._local: list[tuple[int, int]] = []

    def __repr__(self) -> str:
        return "\n".join(str(op) for op in self.segment.block.ops)

    def pick(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def visible(self, arena: Array) -> Array:
        """`arena` with the bytes of tensors that only the segment uses cleared."""
        out = arena.copy()
        for low, high in self._local:
            out[low:high] = 0
        return out

    def finish(self) -> None:
        """Mark tensors `local` that are read by a layer, most of them."""
        for op in self.segment.block.ops:
            if not isinstance(op, AllocOp) or op.result is self.values[0]:
                continue
            assert op.offset is not None
            if _is_read(op.result) and self.pick([True, True, True, False]):
                op.attributes["local"] = UnitAttr()
                size = prod(shape_of(op.result)) * numpy_dtype(element_of(op.result)).itemsize
                self._local.append((op.offset.value.data, op.offset.value.data + size))


def _is_read(value: SSAValue) -> bool:
    """Whether a nest reads a buffer or an alias of it."""
    for use in value.uses:
        op = use.operation
        if isinstance(op, ReshapeOp):
            if _is_read(op.result):
                return True
        elif isinstance(op, NestOp) and (value in op.reads or value in captured(op)):
            return True
    return False


def matrix_of(c: Chain, x: SSAValue) -> tuple[SSAValue, int, int]:
    """`x` as a matrix of pixels by channels."""
    *pixels, channels = shape_of(x)
    op = ReshapeOp(x, memref([prod(pixels), channels], i8, "dram"))
    c.segment.block.add_op(op)
    return op.result, prod(pixels), channels


def image_of(c: Chain, x: SSAValue) -> None:
    """The matrix `x` as a tensor that layers may read: through a reshape."""
    m, n = shape_of(x)
    op = ReshapeOp(x, memref([c.batch, 1, m // c.batch, n], element_of(x), "dram"))
    c.segment.block.add_op(op)
    c.values.append(op.result)
