"""Unroll the tile loops of nests, so that layers can overlap.

    loop.for %n = 0 to 512 step 256 {        loop.copy load %w[] at () -> (0, 0)   tile %w0
      loop.copy load %w[%n] tile %wt    ->   ...
      ...                                    loop.copy load %w[] at () -> (0, 256) tile %w1
    }                                        ...

What stands at the top level of a segment can be moved and synchronised by itself: weights of the
next layers are loaded while the present one computes (prefetch-loads), a layer starts on the first
tiles of its input while the last are still being made, pooling runs beside convolution
(schedule-commands).  Machine code and IR grow by the number of pieces, so a program may become
`growth` times as long, or `max-ops` operations (counted before lowering and without what
synchronises them: about three quarters of those of the npu level).  First outermost loops that
load are split, into as many pieces as there is room for.  Then whole nests are unrolled: those near
a nest without products first, then the smallest.  A nest for which there is no room stays as it is:
between pieces of it the array would run empty.  Nothing is unrolled where banks are ranges of
addresses (there, the two slots of a loop's buffers keep queues out of each other's banks) or for
arrays of adder trees, which have no long pipeline to keep full from one layer to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.loop import AllocOp, BroadcastOp, CopyOp, FillOp, ForOp, NestOp, SubviewOp
from ...dialects.types import string
from ..base import CompilerContext, Pass
from .cores import top_block
from .tile_npu import npu_segments
from .tiling.units import unrolls

MATMUL = string("matmul")

PIECES = (32, 24, 16, 12, 8, 6, 4, 3, 2)
"""Numbers of pieces to split a loop into at most, in order of preference."""

NEAR = 2
"""Nests before and behind one without products that may run beside it."""


@dataclass(frozen=True)
class UnrollTilesPass(Pass):
    """Unroll tile loops, as far as the program stays short."""

    name = "unroll-tiles"
    max_ops: int = 3900
    growth: float = 3.5

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Unroll in every NPU segment, to `max-ops` operations in all or `growth` times as many."""
        if ctx.machine is None or not unrolls(ctx.machine):
            return
        blocks = [top_block(func) for func in npu_segments(module)]
        length = sum(_size(op) for block in blocks for op in block.ops)
        room = max(self.max_ops, int(self.growth * length)) - length
        room -= _split_loads([op for block in blocks for op in _loops(block)], room)
        unroll_nests([_loops(block) for block in blocks], room)


def _loops(block: Block) -> list[ForOp]:
    return [op for op in block.ops if isinstance(op, ForOp)]


def _split_loads(loops: Sequence[ForOp], room: int) -> int:
    """Split loops that load into as many pieces as `room` operations allow; returns how many."""
    loading = [op for op in loops if _loads(op)]
    for most in PIECES:
        grown = sum((min(len(op.values), most) - 1) * _size(op) for op in loading)
        if grown <= room:
            for op in loading:
                if len(op.values) > 1:
                    split(op, min(len(op.values), most))
            return grown
    return 0


def unroll_nests(segments: Sequence[Sequence[ForOp]], room: int) -> None:
    """Unroll top-level loops and all in them, one by one, within `room` operations."""
    order: list[tuple[bool, int, ForOp]] = []
    for loops in segments:
        alone = [not _multiplies(op) for op in loops]
        for i, op in enumerate(loops):
            far = not any(alone[max(i - NEAR, 0) : i + NEAR + 1])
            order.append((far, _unrolled(op) - _size(op), op))
    for _, grown, op in sorted(order, key=lambda item: item[:2]):
        if grown <= room:
            room -= grown
            unroll(op)


def unroll(loop: ForOp) -> None:
    """Replace a loop, and all loops in it, by their iterations."""
    block, before, behind = loop.parent_block(), loop.prev_op, loop.next_op
    assert block is not None
    split(loop, len(loop.values))
    op = block.first_op if before is None else before.next_op
    while op is not behind:
        assert op is not None
        following = op.next_op
        if isinstance(op, ForOp):
            unroll(op)
        op = following


def _loads(loop: ForOp) -> bool:
    return any(isinstance(op, CopyOp) and op.kind.data == "load" for op in loop.walk())


def _multiplies(loop: ForOp) -> bool:
    return any(op.attributes.get("tensorize") == MATMUL for op in loop.walk())


def _size(op: Operation) -> int:
    """Operations that a tile loop, or what is in it, becomes; about."""
    if isinstance(op, ForOp):
        return 2 + sum(_size(inner) for inner in op.body.block.ops)
    if isinstance(op, NestOp):
        return 5 if op.attributes.get("tensorize") == MATMUL else 1
    return int(isinstance(op, AllocOp | BroadcastOp | CopyOp | FillOp))


def _unrolled(op: Operation) -> int:
    """The same when all loops are unrolled."""
    if isinstance(op, ForOp):
        return len(op.values) * sum(_unrolled(inner) for inner in op.body.block.ops)
    return _size(op)


def split(loop: ForOp, pieces: int) -> None:
    """Replace a loop by `pieces` loops over parts of its range; those of one iteration unrolled."""
    block = loop.parent_block()
    assert block is not None
    values, count = loop.values, len(loop.values)
    bounds = [i * count // pieces for i in range(pieces + 1)]
    for first, last in pairwise(bounds):
        mapping: dict[SSAValue, SSAValue] = {}
        if last - first == 1:
            for op in loop.body.block.ops:
                block.insert_op_before(_at(op, loop.iv, values[first], mapping), loop)
            continue
        upper = values[last] if last < count else values.stop
        part = ForOp(values[first], upper, values.step)
        mapping[loop.iv] = part.iv
        part.iv.name_hint = loop.iv.name_hint
        part.location = loop.location
        for op in loop.body.block.ops:
            part.body.block.add_op(op.clone(mapping))
        block.insert_op_before(part, loop)
    loop.detach()
    loop.erase()


def _at(op: Operation, iv: SSAValue, value: int, mapping: dict[SSAValue, SSAValue]) -> Operation:
    """A copy of `op` in which the loop variable has a value."""
    if isinstance(op, ForOp):
        made: Operation = ForOp(op.values.start, op.values.stop, op.values.step)
        assert isinstance(made, ForOp)
        mapping[op.iv] = made.iv
        made.iv.name_hint = op.iv.name_hint
        for inner in op.body.block.ops:
            made.body.block.add_op(_at(inner, iv, value, mapping))
    elif isinstance(op, CopyOp | SubviewOp) and iv in op.ivs:
        made = _fixed(op, iv, value, mapping)
    else:
        return op.clone(mapping)
    made.location = op.location
    made.attributes |= op.attributes
    return made


def _fixed(
    op: CopyOp | SubviewOp, iv: SSAValue, value: int, mapping: dict[SSAValue, SSAValue]
) -> Operation:
    """A copy or subview whose start no longer depends on `iv`."""
    position = list(op.ivs).index(iv)
    start = op.start
    consts = tuple(
        c + row[position] * value for c, row in zip(start.consts, start.coeffs, strict=True)
    )
    rows = tuple(row[:position] + row[position + 1 :] for row in start.coeffs)
    fixed = replace(start, coeffs=rows, consts=consts, num_dims=start.num_dims - 1)
    ivs = [mapping.get(v, v) for v in op.ivs if v is not iv]
    if isinstance(op, CopyOp):
        big, tile = mapping.get(op.big, op.big), mapping.get(op.tile, op.tile)
        perm, steps = op.perm.get_values(), op.steps.get_values()
        return CopyOp(
            op.kind.data, big, tile, ivs, fixed,
            perm=perm, steps=steps, fill=op.fill_number, broadcast=op.levels,
        )  # fmt: skip
    buffer = mapping.get(op.buffer, op.buffer)
    made = SubviewOp(buffer, ivs, fixed, op.result.type, op.steps.get_values())  # pyright: ignore[reportArgumentType]
    mapping[op.result] = made.result
    made.result.name_hint = op.result.name_hint
    return made


PASS = UnrollTilesPass
