"""`allocate-arena`: offsets in one arena for every buffer, and in one block for every constant.

    %a = loop.alloc : memref<1x8xi8, "dram">   ->   %a = loop.alloc {offset = 128 : i64} : ...

A buffer lives from the first operation that touches it (or an alias of it) to the last; inputs and
outputs live throughout, at the bottom.  Buffers that live at the same time must not overlap;
`passes/memory/planning.py` finds their offsets: by several greedy methods, then by local search,
until the arena is as small as the lower bound.

The function gets `arena_bytes`, `const_bytes`, `arg_offsets`, and `arena_lower_bound`: the most
bytes alive at once, below which no plan can go.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from ...dialects.loop import AllocOp, GlobalOp, NestOp, ReshapeOp, captured
from ...dialects.types import integer, ints
from ..base import CompilerContext, Pass, main_function
from ..memory.buffers import Buffer, lower_bound
from ..memory.planning import plan
from .packing import align, assign_offsets, buffer_bytes


def lifetimes(func: FuncOp) -> dict[AllocOp, Buffer]:
    """Lifetime and aligned bytes of each buffer, in positions of the operations of the block."""
    roots: dict[SSAValue, AllocOp] = {}
    spans: dict[AllocOp, tuple[int, int]] = {}
    for i, op in enumerate(func.body.block.ops):
        if isinstance(op, AllocOp):
            roots[op.result] = op
        elif isinstance(op, ReshapeOp):
            if op.x in roots:
                roots[op.result] = roots[op.x]
        elif not isinstance(op, GlobalOp):
            used = (*op.operands, *captured(op)) if isinstance(op, NestOp) else op.operands
            for value in used:
                if (root := roots.get(value)) is not None:
                    spans[root] = (spans[root][0] if root in spans else i, i)
    return {
        root: Buffer(*spans.get(root, (0, -1)), align(buffer_bytes(root.result)))
        for value, root in roots.items()
        if root.result is value
    }


@dataclass(frozen=True)
class AllocateArenaPass(Pass):
    """Place every buffer in the arena and every constant in the constants block."""

    name = "allocate-arena"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Allocate @main."""
        func = main_function(module)
        base, arguments = 0, list[int]()
        for arg in func.body.block.args:
            arguments.append(base)
            base += align(buffer_bytes(arg))
        found = lifetimes(func)
        buffers = list(found.values())
        planned = plan(buffers)
        for alloc, offset in zip(found, planned.offsets, strict=True):
            alloc.offset = integer(base + offset)
        func.attributes["arg_offsets"] = ints(arguments)
        func.attributes["arena_bytes"] = integer(base + planned.size)
        func.attributes["arena_lower_bound"] = integer(base + lower_bound(buffers))
        func.attributes["const_bytes"] = integer(assign_offsets(func, ctx.constants))


PASS = AllocateArenaPass
