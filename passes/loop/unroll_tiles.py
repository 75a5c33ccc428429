"""Unroll the outermost tile loops of short nests, so that layers can overlap.

    loop.for %n = 0 to 512 step 256 {        loop.copy load %w[] at () -> (0, 0)   tile %w0
      loop.copy load %w[%n] tile %wt    ->   ...
      ...                                    loop.copy load %w[] at () -> (0, 256) tile %w1
    }                                        ...

What stands at the top level of a segment can be moved and synchronised by itself: weights of the
next layers are loaded while the present one computes (prefetch-loads), and a layer starts on the
first tiles of its input while the last are still being made.  Loops inside stay loops: machine code
and IR grow by the trip counts of outermost loops only, and all are kept below `max-ops`
operations.  Loops that reduce into one accumulator tile are not unrolled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.loop import AllocOp, CopyOp, ForOp, NestOp, SubviewOp
from ..base import CompilerContext, Pass
from .tile_npu import npu_segments

TRIPS = (32, 16, 12, 8, 6, 4, 3, 2)
"""Trip counts up to which loops are unrolled, as many as the limit on operations allows."""


@dataclass(frozen=True)
class UnrollTilesPass(Pass):
    """Unroll outermost tile loops with few iterations."""

    name = "unroll-tiles"
    max_ops: int = 2400

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Unroll in every NPU segment, within `max-ops` operations in all."""
        segments = npu_segments(module)
        loops = [
            (op, len(op.values), sum(1 for _ in op.walk()))
            for func in segments
            for op in func.body.block.ops
            if isinstance(op, ForOp) and not _reduces(op)
        ]
        present = sum(1 for func in segments for _ in func.walk())
        for trips in TRIPS:
            chosen = [item for item in loops if item[1] <= trips]
            if present + sum((n - 1) * size for _, n, size in chosen) <= self.max_ops:
                for loop, _, _ in chosen:
                    unroll(loop)
                return


def _reduces(loop: ForOp) -> bool:
    """Whether iterations add to an accumulator that is allocated outside."""
    inside = {op for op in loop.walk() if isinstance(op, AllocOp)}
    return any(
        isinstance(op, NestOp) and op.accumulate is not None and op.output.owner not in inside
        for op in loop.walk()
    )


def unroll(loop: ForOp) -> None:
    """Replace a loop by its iterations, one after the other."""
    block = loop.parent_block()
    assert block is not None
    for value in loop.values:
        mapping: dict[SSAValue, SSAValue] = {}
        for op in loop.body.block.ops:
            block.insert_op_before(_at(op, loop.iv, value, mapping), loop)
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
            perm=perm, steps=steps, fill=op.fill_number,
        )  # fmt: skip
    buffer = mapping.get(op.buffer, op.buffer)
    made = SubviewOp(buffer, ivs, fixed, op.result.type, op.steps.get_values())  # pyright: ignore[reportArgumentType]
    mapping[op.result] = made.result
    made.result.name_hint = op.result.name_hint
    return made


PASS = UnrollTilesPass
