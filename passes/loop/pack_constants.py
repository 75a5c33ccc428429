"""Lay constants out in the order in which tiles of them are loaded.

    loop.for %n = 0 to 64 step 16 {
      loop.copy load %w[%n] at (d0) -> (0, 0, 0, d0) tile %wt : memref<3x3x32x64xi8, "const">
                                                          (rows of 16 bytes)
  becomes
      %flat = loop.alloc : memref<4608xi8, "spm">
      loop.copy load %packed[%n] at (d0) -> (d0 * 288) tile %flat : memref<18432xi8, "const">
      %wt = loop.reshape %flat                            (one run of 4608 bytes)

A tile whose rows are short costs a whole DRAM burst for each of them; packed, it is one run, so
that loads of weights reach the full bandwidth.  A constant is copied only where that saves traffic
and makes it at most a quarter bigger (tiles that overlap are not packed).  The original stays: the
CPU end reads it.

Weights of leaves that are marked `sparse` are stored 2:4 compressed, tile by tile, in 5/8 of the
bytes; the array decodes them:

      loop.copy load %packed[%n] ... tile %flat : memref<11520xi8, "const">, memref<2880xi8, "spm">
      %wt = loop.decode %flat {axis = 2 : i64} : ... -> memref<3x3x32x16xi8, "spm">
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import lcm, prod

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block

from ...backends.targets.machine import Machine
from ...dialects.constants import Array
from ...dialects.loop import (
    AllocOp,
    CopyOp,
    DecodeOp,
    ForOp,
    GlobalOp,
    Linear,
    NestOp,
    ReshapeOp,
)
from ...dialects.sparsity import compress, compressed_bytes
from ...dialects.types import element_of, int_values, memref, numpy_dtype, shape_of
from ..base import CompilerContext, Pass, main_function
from .packing import ConstantAppender, global_array
from .tile_npu import npu_segments
from .tiling.classify import SPARSE, reduction_of, weights_axis

GROWTH = 1.25
"""How much bigger than the original a packed constant may be, tiles padded to whole bursts."""
WASTE = 1.05
"""Bursts of a load as it is, over those of a packed one, from which packing is worth a copy."""


@dataclass(frozen=True)
class PackConstantsPass(Pass):
    """Lay weights out tile by tile, so that each load is one run of DRAM."""

    name = "pack-constants"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Replace loads of constants in every NPU segment; new constants are declared in @main."""
        if ctx.machine is None:
            return
        main = main_function(module)
        packer = _Packer(ctx, ctx.machine, main)
        for func in npu_segments(module):
            for op in [o for o in func.walk() if isinstance(o, CopyOp)]:
                if op.kind.data == "load" and isinstance(op.big.owner, GlobalOp):
                    packer.visit(op, op.big.owner)


@dataclass(frozen=True)
class Layout:
    """Tiles of `size` elements, `stride` apart, for every combination of loop values."""

    ranges: tuple[range, ...]
    size: int
    stride: int

    @property
    def coefficients(self) -> tuple[int, ...]:
        """Elements from one tile to the next, per unit of each loop's variable."""
        return tuple(
            self.stride * prod(len(r) for r in self.ranges[i + 1 :]) // values.step
            for i, values in enumerate(self.ranges)
        )

    @property
    def total(self) -> int:
        """Elements of all tiles."""
        return self.stride * prod(len(r) for r in self.ranges)


def layout(op: CopyOp, burst: int, size: int) -> Layout:
    """Tile by tile, of `size` elements each, in the order of the loops around `op`.

    Tiles start at multiples of a burst.
    """
    ranges: list[range] = []
    for iv in op.ivs:
        block = iv.owner
        assert isinstance(block, Block)
        loop = block.parent_op()
        assert isinstance(loop, ForOp)
        ranges.append(loop.values)
    item = numpy_dtype(element_of(op.big)).itemsize
    unit = lcm(max(burst // item, 1), *(r.step for r in ranges))
    if unit > size:  # small tiles: only what coefficients need
        unit = lcm(1, *(r.step for r in ranges))
    return Layout(tuple(ranges), size, -(-size // unit) * unit)


def bursts(op: CopyOp, burst: int) -> float:
    """Expected DRAM bursts of one load: contiguous rows, each of which may start within a burst."""
    item = numpy_dtype(element_of(op.big)).itemsize
    run, rows, contiguous = item, 1, True
    extents = shape_of(op.big)
    steps, perm = int_values(op.steps), list(int_values(op.perm))
    box = [shape_of(op.tile)[perm.index(r)] for r in range(len(extents))]
    for extent, n, step in reversed(list(zip(extents, box, steps, strict=True))):
        n = min(n, extent)
        if contiguous and (step == 1 or n == 1):
            run *= n
        else:
            rows *= n
        contiguous = contiguous and n == extent and step == 1
    aligned = run % burst == 0 and (extents[-1] * item) % burst == 0 if extents else True
    return rows * (run / burst if aligned else (run - item) / burst + 1)


def pack(op: CopyOp, array: Array, plan: Layout, axis: int | None = None) -> Array:
    """All tiles one after the other, as `op` would load them.

    2:4 compressed along `axis`, if it is given; ValueError if that cannot be.
    """
    fill = op.fill_number or 0
    out = np.full(plan.total, fill, array.dtype)
    start, steps, perm = op.start, int_values(op.steps), list(int_values(op.perm))
    shape = shape_of(op.tile)
    for number, values in enumerate(product(*plan.ranges)):
        at = [
            c + sum(a * v for a, v in zip(row, values, strict=True))
            for row, c in zip(start.coeffs, start.consts, strict=True)
        ]
        tile = np.full(shape, fill, array.dtype)
        source: list[Array] = []
        target: list[Array] = []
        for k, n in enumerate(shape):
            coordinates = at[perm[k]] + np.arange(n) * steps[perm[k]]
            inside = (coordinates >= 0) & (coordinates < array.shape[perm[k]])
            source.append(coordinates[inside])
            target.append(np.flatnonzero(inside))
        tile[np.ix_(*target)] = array.transpose(perm)[np.ix_(*source)]
        begin = number * plan.stride
        flat = tile.reshape(-1) if axis is None else compress(tile, axis)
        out[begin : begin + plan.size] = flat
    return out


def compressed_axis(op: CopyOp) -> int | None:
    """The axis of the tile along which all that read it take it 2:4 compressed; None: they do not.

    These are leaves of the matrix unit marked `sparse`.
    """
    if op.tile.owner.parent is not op.parent:
        return None
    axes: set[int | None] = set()
    for use in op.tile.uses:
        leaf = use.operation
        if leaf is op:
            continue
        if not isinstance(leaf, NestOp) or SPARSE not in leaf.attributes:
            return None
        reduction = reduction_of(leaf)
        if use.index != reduction.b:
            return None
        found = weights_axis(leaf, reduction)
        axes.add(None if found is None else found[1])
    return axes.pop() if len(axes) == 1 else None


class _Packer:
    """Replaces loads; equal ones share a packed constant."""

    def __init__(self, ctx: CompilerContext, machine: Machine, main: FuncOp):
        self.constants, self.burst = ConstantAppender(main, ctx.constants), machine.dram.burst_bytes

    def visit(self, op: CopyOp, constant: GlobalOp) -> None:
        if not shape_of(op.big) or not self.constants.ready:
            return
        if (axis := compressed_axis(op)) is not None and self._compress(op, constant, axis):
            return
        item = numpy_dtype(element_of(op.big)).itemsize
        plan = layout(op, self.burst, prod(shape_of(op.tile)))
        if plan.total > GROWTH * prod(shape_of(op.big)):
            return
        if bursts(op, self.burst) <= WASTE * -(-plan.size * item // self.burst):
            return
        array = pack(op, global_array(constant, self.constants.store), plan)
        self._use(op, constant, array, plan)

    def _compress(self, op: CopyOp, constant: GlobalOp, axis: int) -> bool:
        """Whether the constant is sparse along `axis` of its tiles, and now loaded compressed."""
        plan = layout(op, self.burst, compressed_bytes(prod(shape_of(op.tile))))
        try:
            array = pack(op, global_array(constant, self.constants.store), plan, axis)
        except ValueError:
            return False
        self._use(op, constant, array, plan, axis)
        return True

    def _use(
        self, op: CopyOp, constant: GlobalOp, array: Array, plan: Layout, axis: int | None = None
    ) -> None:
        """Load a tile from `array` instead of `constant`, of which no one else need know."""
        type = memref([plan.total], element_of(op.big), "const")
        packed = self.constants.add(array, type, constant)
        block = constant.parent_block()
        assert block is not None
        block.insert_op_before(packed, constant)
        self._replace(op, packed, plan, axis)
        if not any(True for _ in constant.result.uses):
            constant.detach()
            constant.erase()

    def _replace(self, op: CopyOp, packed: GlobalOp, plan: Layout, axis: int | None) -> None:
        """Load one run into a flat buffer; the old tile is another shape of it, or decoded."""
        old = op.tile.owner
        assert isinstance(old, AllocOp)
        flat = AllocOp(memref([plan.size], element_of(op.tile), "spm"))
        if axis is None:  # weights of a cascade have a place already (promote-buffers)
            flat.offset = old.offset
        flat.slots = old.slots
        flat.result.name_hint = old.result.name_hint
        coords = Linear.of([dict(enumerate(plan.coefficients))], len(op.ivs))
        load = CopyOp("load", packed.result, flat.result, list(op.ivs), coords)
        alias, place = ReshapeOp(flat.result, old.result.type), old
        if axis is not None:  # what is decoded must be there
            alias, place = DecodeOp(flat.result, axis, old.result.type), op
        alias.result.name_hint = old.result.name_hint
        for new, before in ((flat, old), (load, op), (alias, place)):
            new.location = before.location
            block = before.parent_block()
            assert block is not None
            block.insert_op_before(new, before)
        op.detach()
        op.erase()
        old.result.replace_all_uses_with(alias.result)
        old.detach()
        old.erase()


PASS = PackConstantsPass
