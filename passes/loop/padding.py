"""Padding of dimensions that do not divide among cores, so that their parts are equal.

    loop.nest domain [197, 768, 768] ins(%x, %w) ...       %x, outs(%y): memref<197x768xi8, "dram">

becomes, for four cores,

    loop.nest domain [200, 768, 768] padded [0] ins(%x, %w) ... fills [1, unit]

What is read beyond a tensor is `ANY` value, and what is written there is dropped, so that nothing
else changes.  The buffers stay as they are: promote-buffers gives those on chip a border of three
rows, which such nests write and read; of those in DRAM copies are clipped.  For that, a padded
dimension runs alone along an axis of the output and of all that it reads (no windows), the nest
writes all of that axis' end, and nobody looks beyond it for a fill value.

`distribute` pads the dimensions that it divides; all to multiples of the number of cores of the
machine, whatever their split, so that parts begin at the same rows in all nests.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.dialects.builtin import ArrayAttr
from xdsl.ir import SSAValue

from ...dialects.loop import GlobalOp, Linear, NestOp, ReshapeOp, captured, fill_attr
from ...dialects.types import ints, shape_of
from .aliases import aliases, twin, whole
from .cores import padded_extent

ANY = 1
"""What is read beyond a tensor: also where 0 has no meaning, as a shift."""

MOST = 1.25
"""How much longer a dimension may become."""


def paddable(nest: NestOp, dim: int, cores: int) -> bool:
    """Whether a dimension can be padded to a multiple of `cores` without any other change."""
    extent = nest.sizes[dim]
    if dim in nest.reduced or padded_extent(extent, cores) > MOST * extent:
        return False
    *reads, output = nest.linear_maps
    axes = [_axis(map, dim, nest.sizes) for map in reads]
    axis = _axis(output, dim, nest.sizes)
    return (
        axis is not None
        and None not in axes
        and _ends(nest, dim, axis, cores)
        and _within(nest.output, axis)
        and all(
            axis is None or axis < 0 or _beyond(value, map, axis, extent)
            for value, map, axis in zip(nest.reads, reads, axes, strict=True)
        )
    )


def pad(nest: NestOp, dim: int, cores: int) -> None:
    """Enlarge a dimension that is `paddable` to a multiple of `cores`."""
    sizes = list(nest.sizes)
    sizes[dim] = padded_extent(sizes[dim], cores)
    nest.domain = ints(sizes)
    nest.padded = ints(sorted({*nest.padded_dims, dim}))
    fills = [
        ANY if fill is None and leaves(map, sizes, shape_of(value)) else fill
        for map, value, fill in zip(nest.linear_maps, nest.reads, nest.fill_values, strict=False)
    ]
    nest.fills = ArrayAttr([fill_attr(fill) for fill in fills])


def leaves(map: Linear, sizes: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether some point of a domain is mapped to beyond the end of a tensor."""
    return any(high >= n for (_, high), n in zip(map.bounds(sizes), shape, strict=True))


def padded_axes(nest: NestOp, map: Linear) -> set[int]:
    """Axes along which `map` leaves its tensor because of padding, with no meaning."""
    return {axis for axis, row in enumerate(map.coeffs) if any(row[d] for d in nest.padded_dims)}


def survives(value: SSAValue, axis: int) -> bool:
    """Whether an axis of a buffer is one in all its shapes."""
    shape = shape_of(value)
    return all(twin(shape, axis, shape_of(x)) is not None for x in aliases(whole(value)))


def _axis(map: Linear, dim: int, sizes: Sequence[int]) -> int | None:
    """The axis along which `dim` runs alone, step by step; -1 if it runs along none, else None."""
    rows = [axis for axis, row in enumerate(map.coeffs) if row[dim]]
    if not rows:
        return -1
    row = map.coeffs[rows[0]]
    alone = [d for d, (a, n) in enumerate(zip(row, sizes, strict=True)) if a and n > 1] == [dim]
    return rows[0] if len(rows) == 1 and alone and row[dim] == 1 else None


def _ends(nest: NestOp, dim: int, axis: int, cores: int) -> bool:
    """Whether the nest writes all of the end of an axis, whose padding is then this dimension's."""
    shape, first = shape_of(nest.output), nest.linear_maps[-1].consts[axis]
    written = prod(n for d, n in enumerate(nest.sizes) if d not in (*nest.reduced, dim))
    return (
        axis >= 0
        and first % cores == 0
        and first + nest.sizes[dim] == shape[axis]
        and written == prod(shape) // shape[axis]
    )


def _beyond(value: SSAValue, map: Linear, axis: int, extent: int) -> bool:
    """Whether what a longer dimension reads lies beyond a tensor, or in a constant.

    In the middle of a tensor (a part of a concatenation) it might not be written yet.
    """
    ends = map.consts[axis] + extent == shape_of(value)[axis]
    return survives(value, axis) and (ends or isinstance(value.owner, GlobalOp))


def _within(output: SSAValue, axis: int) -> bool:
    """Whether all readers of a tensor can live with any value beyond the end of an axis."""
    shape = shape_of(output)
    for value in aliases(whole(output)):
        if (here := twin(shape, axis, shape_of(value))) is None:
            return False
        for use in value.uses:
            nest = use.operation
            if isinstance(nest, ReshapeOp):
                continue
            if not isinstance(nest, NestOp) or value in captured(nest):
                return False
            for map, x in zip(nest.linear_maps, nest.reads, strict=False):
                free = here in padded_axes(nest, map)
                if x is value and not free and map.bounds(nest.sizes)[here][1] >= shape[axis]:
                    return False
    return True
