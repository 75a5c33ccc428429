"""Stripes of nests: which rows of every tensor of a chain a stripe of its result needs.

Rows are the first axis of a tensor with more than one element (images for a batch, else rows of
pixels), so that a stripe is contiguous in memory.  Going back from rows [a, b) of the last result,

    conv 3x3, stride 1, padding 1      rows [a - 1, b + 1) of its input, within the tensor
    conv 1x1                           rows [a - 1, b + 1)

every nest computes the rows that later nests of the chain need.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xdsl.dialects.builtin import ArrayAttr
from xdsl.ir import SSAValue

from ...dialects.loop import AllocOp, Linear, NestOp
from ...dialects.types import element_of, ints, memref, shape_of

Rows = tuple[int, int]
"""Rows [low, high)."""


def row_axis(shape: Sequence[int]) -> int:
    """The axis of the rows: the first with more than one element."""
    return next((k for k, n in enumerate(shape) if n > 1), 0)


def row_dim(nest: NestOp) -> int | None:
    """The parallel dimension that runs along the rows of the result, alone; None if none does."""
    shape, map = shape_of(nest.output), nest.linear_maps[-1]
    if not shape:
        return None
    axis = row_axis(shape)
    dims = [d for d, a in enumerate(map.coeffs[axis]) if a and nest.sizes[d] > 1]
    if len(dims) != 1 or map.coeffs[axis][dims[0]] != 1 or map.consts[axis]:
        return None
    [dim] = dims
    elsewhere = any(row[dim] for k, row in enumerate(map.coeffs) if k != axis)
    return None if elsewhere or nest.sizes[dim] != shape[axis] or dim in nest.reduced else dim


@dataclass
class Stripes:
    """One stripe of a chain: rows that each nest computes, and rows of the buffers between."""

    nests: dict[NestOp, Rows] = field(default_factory=dict[NestOp, Rows])
    buffers: dict[SSAValue, Rows] = field(default_factory=dict[SSAValue, Rows])

    def buffer(self, value: SSAValue) -> AllocOp:
        """A buffer for this stripe of an intermediate tensor."""
        shape, (low, high) = list(shape_of(value)), self.buffers[value]
        shape[row_axis(shape)] = high - low
        assert isinstance(value.owner, AllocOp)
        made = AllocOp(memref(shape, element_of(value), "dram"))
        made.location = value.owner.location
        made.attributes |= value.owner.attributes
        made.result.name_hint = value.name_hint
        return made

    def nest(
        self, nest: NestOp, buffers: Mapping[SSAValue, SSAValue], shifts: Mapping[SSAValue, int]
    ) -> NestOp:
        """A copy of a nest that computes this stripe; `shifts`: first row of each stripe buffer."""
        (low, high), dim = self.nests[nest], row_dim(nest)
        assert dim is not None
        made = nest.clone(dict(buffers))
        made.location = nest.location
        made.domain = ints([high - low if d == dim else n for d, n in enumerate(nest.sizes)])
        maps: list[Linear] = []
        for map, value in zip(nest.linear_maps, (*nest.reads, nest.output), strict=True):
            consts = [c + row[dim] * low for c, row in zip(map.consts, map.coeffs, strict=True)]
            if value in shifts:
                consts[row_axis(shape_of(value))] -= shifts[value]
            maps.append(replace(map, consts=tuple(consts)))
        made.maps = ArrayAttr([m.attr for m in maps])
        return made


def stripe(nests: Sequence[NestOp], inner: Collection[SSAValue], a: int, b: int) -> Stripes | None:
    """What rows [a, b) of the last nest's result need; None if rows cannot be told apart."""
    out = Stripes()
    for nest in reversed(nests):
        rows = out.buffers.get(nest.output) if nest is not nests[-1] else (a, b)
        dim = row_dim(nest)
        if rows is None or dim is None:
            return None
        out.nests[nest] = rows
        for map, value in zip(nest.linear_maps, nest.reads, strict=False):
            if value not in inner:
                continue
            needed = _needed(map, nest.sizes, dim, rows, shape_of(value))
            if needed is None:
                return None
            low, high = out.buffers.get(value, needed)
            out.buffers[value] = min(low, needed[0]), max(high, needed[1])
    return out


def _needed(
    map: Linear, sizes: Sequence[int], dim: int, rows: Rows, shape: Sequence[int]
) -> Rows | None:
    """Rows of an operand that rows of the result need; None if they also choose other axes."""
    axis = row_axis(shape)
    step = map.coeffs[axis][dim]
    if step <= 0 or any(row[dim] for k, row in enumerate(map.coeffs) if k != axis):
        return None
    spans = [
        a * (n - 1)
        for d, (a, n) in enumerate(zip(map.coeffs[axis], sizes, strict=True))
        if d != dim
    ]
    low = map.consts[axis] + step * rows[0] + sum(s for s in spans if s < 0)
    high = map.consts[axis] + step * (rows[1] - 1) + sum(s for s in spans if s > 0)
    last = shape[axis] - 1  # a stripe that reads nothing but padding has a row all the same
    return min(max(low, 0), last), max(min(high, last), 0) + 1
