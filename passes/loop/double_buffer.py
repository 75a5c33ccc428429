"""Give tile buffers two slots, so that transfers, matrix and vector work overlap across iterations.

    %xt = loop.alloc : memref<1x16x58x32xi8, "spm">   ->   loop.alloc {slots = 2 : i64} : ...

Buffers inside tile loops get a second slot while the memory holds them all: first those that loads
fill (prefetching the next tile), from the innermost loops outwards, then accumulators, then the
rest.  Tile-size selection has counted on two slots wherever that fits, so normally all get them.
Accumulators get up to four where their memory is not a few banks of addresses, as a systolic array
returns a tile's last sums long after its last row went in; no more than their loops have rounds, so
that what comes next finds room beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ...backends.targets.machine import Machine
from ...dialects.loop import AllocOp, CopyOp, DecodeOp, ForOp, ReshapeOp, SubviewOp, space_of
from ...dialects.types import element_of, integer, numpy_dtype, shape_of
from ..base import CompilerContext, Pass
from .cores import top_block
from .tile_npu import npu_segments
from .tiling.residents import free_scratchpad
from .tiling.units import sum_slots


@dataclass(frozen=True)
class DoubleBufferPass(Pass):
    """Give buffers in tile loops a second slot where memory allows."""

    name = "double-buffer"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Set `slots` of the buffers of every NPU segment."""
        if ctx.machine is None:
            return
        for func in npu_segments(module):
            free = free_scratchpad(func, ctx.machine)
            for op in top_block(func).ops:
                if isinstance(op, ForOp):
                    _assign(op, ctx.machine, free[op])


def buffer_bytes(value: SSAValue, machine: Machine) -> int:
    """Bytes of one slot, aligned."""
    size = prod(shape_of(value)) * numpy_dtype(element_of(value)).itemsize
    return -(-size // machine.alignment) * machine.alignment


def _allocs(block: Block) -> Iterator[AllocOp]:
    for op in block.ops:
        if isinstance(op, AllocOp):
            yield op
        elif isinstance(op, ForOp):
            yield from _allocs(op.body.block)


def _outside(loop: ForOp) -> set[SSAValue]:
    """On-chip buffers used in a loop and allocated before it."""
    inside = {alloc.result for alloc in _allocs(loop.body.block)}
    used = {_whole(v) for op in loop.walk() for v in op.operands}
    return {
        v
        for v in used - inside
        if space_of(v) in ("spm", "acc") and isinstance(v.owner, AllocOp) and v.owner.offset is None
    }


def _whole(value: SSAValue) -> SSAValue:
    """The buffer behind reshapes and subviews."""
    while isinstance(value.owner, ReshapeOp | SubviewOp | DecodeOp):
        value = value.owner.operands[0]
    return value


def _priority(alloc: AllocOp) -> int:
    if any(
        isinstance(u.operation, CopyOp) and u.operation.kind.data == "load"
        for u in alloc.result.uses
    ):
        return 0
    return 1 if space_of(alloc.result) == "acc" else 2


def _depth(op: Operation) -> int:
    """Loops around an operation."""
    parent = op.parent_op()
    return 0 if parent is None else isinstance(parent, ForOp) + _depth(parent)


def _rounds(alloc: AllocOp, loop: ForOp) -> int:
    """How often a buffer inside the tile loop `loop` comes round, counted over all loops."""
    rounds, at = 1, alloc.parent_op()
    while isinstance(at, ForOp):
        rounds *= len(at.values)
        at = None if at is loop else at.parent_op()
    return rounds


def _assign(loop: ForOp, machine: Machine, scratchpad: int) -> None:
    free = {"spm": scratchpad, "acc": machine.accumulator.bytes}
    allocs = list(_allocs(loop.body.block))
    for value in (*_outside(loop), *(a.result for a in allocs)):
        free[space_of(value)] -= buffer_bytes(value, machine)
    for alloc in sorted(allocs, key=lambda a: (_priority(a), -_depth(a))):
        space, size = space_of(alloc.result), buffer_bytes(alloc.result, machine)
        if size <= free[space]:
            free[space] -= size
            alloc.slots = integer(2)
    for alloc in allocs:  # sums may need more, to hide fill, drain and requantisation
        size = buffer_bytes(alloc.result, machine)
        if space_of(alloc.result) == "acc" and alloc.slots is not None:
            more = min(free["acc"] // size, min(sum_slots(machine), _rounds(alloc, loop)) - 2)
            free["acc"] -= more * size
            alloc.slots = integer(2 + more)


PASS = DoubleBufferPass
