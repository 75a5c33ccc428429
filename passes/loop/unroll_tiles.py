"""Unroll the outermost tile loops of short nests, so that layers can overlap.

    loop.for %n = 0 to 512 step 256 {        loop.copy load %w[] at () -> (0, 0)   tile %w0
      loop.copy load %w[%n] tile %wt    ->   ...
      ...                                    loop.copy load %w[] at () -> (0, 256) tile %w1
    }                                        ...

What stands at the top level of a segment can be moved and synchronised by itself: weights of the
next layers are loaded while the present one computes (prefetch-loads), and a layer starts on the
first tiles of its input while the last are still being made.  Loops inside stay loops: machine code
and IR grow by the number of pieces only: a loop of many iterations is split into shorter ones, into
as many as keep the program below `max-ops` operations, loops that load first.  These are counted
before lowering, roughly and from above: a program has fewer in the end.  Nothing is unrolled where
banks are ranges of addresses (there, the two slots of a loop's buffers keep queues out of each
other's banks) or for arrays of adder trees, which have no long pipeline to keep full from one layer
to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.loop import AllocOp, CopyOp, ForOp, NestOp, SubviewOp
from ..base import CompilerContext, Pass
from .cores import top_block
from .tile_npu import npu_segments
from .tiling.units import unrolls

PIECES = (32, 24, 16, 12, 8, 6, 4, 3, 2)
"""Numbers of pieces to split a loop into at most, in order of preference."""


@dataclass(frozen=True)
class UnrollTilesPass(Pass):
    """Unroll outermost tile loops with few iterations."""

    name = "unroll-tiles"
    max_ops: int = 16000

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Unroll in every NPU segment, within `max-ops` operations in all."""
        if ctx.machine is None or not unrolls(ctx.machine):
            return
        segments = npu_segments(module)
        loops = [
            (op, len(op.values), _size(op))
            for func in segments
            for op in top_block(func).ops
            if isinstance(op, ForOp)
        ]
        room = self.max_ops - sum(_size(op) for func in segments for op in top_block(func).ops)
        for loading in (True, False):  # what loads gains most
            room -= _unroll([loop for loop in loops if _loads(loop[0]) is loading], room)


def _unroll(loops: Sequence[tuple[ForOp, int, int]], room: int) -> int:
    """Split loops, given with trips and size, into as many pieces as `room` operations allow."""
    for most in PIECES:
        grown = sum((min(trips, most) - 1) * size for _, trips, size in loops)
        if grown <= room:
            for loop, trips, _ in loops:
                if trips > 1:
                    split(loop, min(trips, most))
            return grown
    return 0


def _loads(loop: ForOp) -> bool:
    return any(isinstance(op, CopyOp) and op.kind.data == "load" for op in loop.walk())


def _size(op: Operation) -> int:
    """Operations of the npu level that a tile loop, or what is in it, becomes; about."""
    if isinstance(op, ForOp):
        return 2 + sum(_size(inner) for inner in op.body.block.ops)
    if isinstance(op, NestOp):
        return 5
    return 2 if isinstance(op, CopyOp) else int(isinstance(op, AllocOp))


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
