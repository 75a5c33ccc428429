"""Move loads out of tile loops that do not change them (loop-invariant code motion for copies).

    loop.for %n = 0 to 64 step 16 {                 loop.for %n = 0 to 64 step 16 {
      loop.for %h = 0 to 56 step 14 {                 %wt = loop.alloc ...
        %wt = loop.alloc ...                 ->       loop.copy load %w[%n] ... tile %wt
        loop.copy load %w[%n] ... tile %wt            loop.for %h = 0 to 56 step 14 {
        ...                                             ...

A load moves with its buffer when it does not use the loop's variable, nothing else writes the
buffer, and nothing in the loop stores to the memory it reads.  Inner loops first, so that a load
moves as far out as it can.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.loop import AllocOp, CopyOp, FillOp, ForOp, GlobalOp, NestOp, ReshapeOp
from ...dialects.types import element_of, numpy_dtype, shape_of
from ..base import CompilerContext, Pass
from .aliases import whole
from .cores import top_block
from .tile_npu import npu_segments


@dataclass(frozen=True)
class HoistCopiesPass(Pass):
    """Move loop-invariant loads (and their buffers) out of tile loops."""

    name = "hoist-copies"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Hoist in every NPU segment."""
        for func in npu_segments(module):
            _hoist(top_block(func))


Range = tuple[SSAValue | None, int, int]
"""Bytes [low, high) of a memory; the base is None in the arena, else the buffer itself."""


def memory_range(value: SSAValue) -> Range:
    """Which bytes `value` occupies; aliases are seen through."""
    value = whole(value)
    size = prod(shape_of(value)) * numpy_dtype(element_of(value)).itemsize
    owner = value.owner
    if isinstance(owner, AllocOp) and owner.offset is not None:
        low = owner.offset.value.data
        return None, low, low + size
    return value, 0, size


def _overlap(a: Range, b: Range) -> bool:
    return a[0] is b[0] and a[1] < b[2] and b[1] < a[2]


def _hoist(block: Block) -> list[Range]:
    """Hoist inside `block`; returns the memory that it stores to."""
    stored: list[Range] = []
    for op in list(block.ops):
        if isinstance(op, ForOp):
            inside = _hoist(op.body.block)
            _hoist_from(op, inside)
            stored += inside
        elif isinstance(op, CopyOp) and op.kind.data == "store":
            stored.append(memory_range(op.big))
        elif isinstance(op, NestOp) and "tensorize" not in op.attributes:
            stored.append(memory_range(op.output))
    return stored


def _hoist_from(loop: ForOp, stored: list[Range]) -> None:
    block = loop.parent_block()
    assert block is not None
    for op in list(loop.body.block.ops):
        if not isinstance(op, CopyOp) or op.kind.data != "load" or loop.iv in op.ivs:
            continue
        alloc = op.tile.owner
        if (
            not isinstance(alloc, AllocOp)
            or alloc.parent is not loop.body.block
            or not _only_writer(op)
        ):
            continue
        source = memory_range(op.big)
        if isinstance(source[0], SSAValue) and isinstance(source[0].owner, GlobalOp):
            source = None
        if source is not None and any(_overlap(source, s) for s in stored):
            continue
        for moved in (alloc, op):
            moved.detach()
            block.insert_op_before(moved, loop)


def _only_writer(copy: CopyOp) -> bool:
    return not any(
        _writes(use.operation, copy.tile) for use in copy.tile.uses if use.operation is not copy
    )


def _writes(op: Operation, buffer: SSAValue) -> bool:
    if isinstance(op, CopyOp):
        return op.kind.data == "load" and op.tile is buffer
    if isinstance(op, NestOp):
        return op.output is buffer
    return isinstance(op, FillOp | ReshapeOp)  # an alias might be written


PASS = HoistCopiesPass
