"""Loads, stores and fills.

A tensor map describes at most MAX_TENSOR_DIMS axes: axes of extent 1 are dropped and axes that the
box covers whole are merged into the next outer one where that is needed.  A fill of 32-bit elements
is a load from beyond the end of a tensor: all of it reads as the fill value, nothing is moved.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import i8

from ....dialects.loop import BroadcastOp, CopyOp, FillOp, Linear, NestOp, row_major_strides
from ....dialects.npu import AccessAttr, DramOp, TensorMapAttr
from ....dialects.npu.isa import MAX_DIMS, MAX_TENSOR_DIMS
from ....dialects.types import element_of, int_values, memref, numpy_dtype, shape_of
from .emitter import Dim, Emitter, byte_strides, capacity, coalesce


@dataclass(frozen=True)
class _Axis:
    extent: int
    stride: int
    coeffs: tuple[int, ...]
    const: int
    step: int
    box: int
    tile_stride: int

    @property
    def whole(self) -> bool:
        return (
            self.box == self.extent and self.step == 1 and not self.const and not any(self.coeffs)
        )


def _axes(op: CopyOp) -> list[_Axis]:
    """Axes of the large memref with the tile's stride on each."""
    item = numpy_dtype(element_of(op.big)).itemsize
    extents, tile = shape_of(op.big), shape_of(op.tile)
    strides, local = [s * item for s in row_major_strides(extents)], byte_strides(op.tile)
    place = {axis: k for k, axis in enumerate(int_values(op.perm))}
    return [
        _Axis(
            extent,
            strides[r],
            op.start.coeffs[r],
            op.start.consts[r],
            step,
            tile[place[r]],
            local[place[r]],
        )
        for r, (extent, step) in enumerate(zip(extents, int_values(op.steps), strict=True))
    ]


def _simplify(axes: list[_Axis]) -> list[_Axis]:
    """Fewer axes with the same elements: drop whole axes of extent 1, merge whole axes outwards."""
    axes = [a for a in axes if not (a.extent == 1 and a.whole)] or axes[-1:]
    i = len(axes) - 1
    while i > 0 and len(axes) > MAX_TENSOR_DIMS:
        outer, inner = axes[i - 1], axes[i]
        if inner.whole and outer.step == 1 and outer.tile_stride == inner.tile_stride * inner.box:
            n = inner.extent
            axes[i - 1 : i + 1] = [
                _Axis(
                    outer.extent * n,
                    inner.stride,
                    tuple(c * n for c in outer.coeffs),
                    outer.const * n,
                    1,
                    outer.box * n,
                    inner.tile_stride,
                )
            ]
        i -= 1
    return axes


def lower_copy(op: CopyOp, out: Emitter) -> None:
    """A load or store command."""
    axes = _simplify(_axes(op)) if shape_of(op.big) else []
    element = numpy_dtype(element_of(op.big)).itemsize
    if not axes:
        axes = [_Axis(1, element, (0,) * len(op.ivs), 0, 1, 1, element)]
    if len(axes) > MAX_TENSOR_DIMS:
        raise capacity(
            op, f"needs a transfer of {len(axes)} axes; the machine has {MAX_TENSOR_DIMS}"
        )
    start = Linear(tuple(a.coeffs for a in axes), tuple(a.const for a in axes), len(op.ivs))
    box = [a.box for a in axes]
    big = out.tensor_map(
        [a.extent for a in axes],
        [a.stride for a in axes],
        start,
        op.ivs,
        [a.step for a in axes],
        box,
    )
    tile = AccessAttr.get(0, box, [a.tile_stride for a in axes])
    if op.kind.data == "load":
        out.command(
            "load",
            [op.big, op.tile],
            [big, tile],
            element=element,
            fill=int(op.fill_number or 0),
            broadcast=int(op.levels is not None),
            levels=op.levels or 0,
        )
    else:
        out.command("store", [op.big, op.tile], [big, tile], element=element)


def lower_fill(op: FillOp, out: Emitter) -> None:
    """Clear a buffer; of accumulators, only note it: a reduction's first command overwrites."""
    if any(isinstance(u.operation, NestOp) and u.operation.accumulate for u in op.buffer.uses):
        out.filled[out.values[op.buffer]] = out.depth
        return
    value = int(getattr(op.value, "value").data)  # noqa: B009
    dims = coalesce(
        [Dim(n, (s,)) for n, s in zip(shape_of(op.buffer), byte_strides(op.buffer), strict=True)]
    )
    if element_of(op.buffer) == i8:
        with out.loops(dims[:-MAX_DIMS]):
            out.command("vfill", [op.buffer], [out.access(0, 0, dims[-MAX_DIMS:])], value=value)
        return
    item = numpy_dtype(element_of(op.buffer)).itemsize
    dims = dims or [Dim(1, (item,))]
    one = [1] * len(dims)
    nothing = out.add(DramOp(0, memref([1], element_of(op.buffer), "const"))).results[0]
    out.values[nothing] = nothing
    box = [d.size for d in dims]
    beyond = TensorMapAttr.get(one, [item] * len(dims), one, one, box)
    out.command(
        "load",
        [nothing, op.buffer],
        [beyond, AccessAttr.get(0, box, [d.strides[0] for d in dims])],
        element=item,
        fill=value,
    )


def lower_broadcast(op: BroadcastOp, out: Emitter) -> None:
    """A send to the same place in other cores."""
    item = numpy_dtype(element_of(op.tile)).itemsize
    strides = byte_strides(op.tile)
    dims = coalesce([Dim(n, (s,)) for n, s in zip(shape_of(op.tile), strides, strict=True)])
    with out.loops(dims[:-MAX_DIMS]):
        access = out.access(0, 0, dims[-MAX_DIMS:] or [Dim(1, (item,))])
        out.command("send", [op.tile, op.tile], [access, access], element=item, levels=op.levels)
