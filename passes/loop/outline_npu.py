"""`outline-npu`: each NPU segment of @main also becomes a function of its own.

    func.func @npu_segment_0() {
      %x = loop.alloc {offset = 0 : i64} : memref<1x8x8x4xi8, "dram">
      %w = loop.global #graph.ref<"..."> {offset = 64 : i64} : memref<3x3x4x16xi8, "const">
      loop.nest ins(%x, %w) outs(%y) ...
    }

The functions have no arguments: buffers are declared again at their offsets in the arena, so each
is a complete program over the arena and the constants block.  K is the segment's index among all
segments.  Buffers that nothing outside the segment uses are marked `local`.  @main stays whole: it
is the CPU end's program and the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from xdsl.dialects.builtin import DenseArrayBase, MemRefType, ModuleOp, UnitAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from ...dialects.errors import IRError
from ...dialects.loop import AllocOp, NestOp, ReshapeOp, captured
from ...dialects.types import int_values
from ..base import CompilerContext, Pass, main_function
from .segments import Segment, segments

PREFIX = "npu_segment_"


def _outline(segment: Segment, arguments: dict[SSAValue, int]) -> FuncOp:
    """A function of clones of the segment's operations and of what declares their buffers."""
    block = Block()
    mapping: dict[SSAValue, SSAValue] = {}
    inside = set(segment.ops)

    def declare(value: SSAValue) -> None:
        chain: list[SSAValue] = []
        while value not in mapping:
            chain.append(value)
            if not isinstance(value.owner, Operation) or not value.owner.operands:
                break
            value = value.owner.operands[0]
        for missing in reversed(chain):
            if missing in arguments:
                made: Operation = AllocOp(
                    cast(MemRefType[Any], missing.type), offset=arguments[missing]
                )
                made.results[0].name_hint = missing.name_hint
                mapping[missing] = made.results[0]
            else:
                assert isinstance(missing.owner, Operation)
                made = missing.owner.clone(mapping)
                if isinstance(made, AllocOp) and _inside(missing, inside):
                    made.attributes["local"] = UnitAttr()
            block.add_op(made)

    for op in segment.ops:
        for value in (*op.operands, *(captured(op) if isinstance(op, NestOp) else ())):
            declare(value)
        block.add_op(op.clone(mapping))
    block.add_op(ReturnOp())
    return FuncOp(f"{PREFIX}{segment.index}", ([], []), Region(block))


def _inside(buffer: SSAValue, ops: set[Operation]) -> bool:
    """Whether nothing but `ops` uses a buffer, or an alias of it."""
    return all(
        _inside(use.operation.results[0], ops)
        if isinstance(use.operation, ReshapeOp)
        else use.operation in ops
        for use in buffer.uses
    )


@dataclass(frozen=True)
class OutlineNpuPass(Pass):
    """Clone each NPU segment of @main into a function without arguments."""

    name = "outline-npu"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Add the functions after @main; IRError if the arena has not been allocated."""
        func = main_function(module)
        offsets = func.attributes.get("arg_offsets")
        if not isinstance(offsets, DenseArrayBase):
            raise IRError(
                "outline-npu needs an allocated function", hint="run allocate-arena first"
            )
        starts = int_values(cast(DenseArrayBase[Any], offsets))
        arguments: dict[SSAValue, int] = dict(zip(func.body.block.args, starts, strict=True))
        made = [_outline(s, arguments) for s in segments(func) if s.kind == "npu"]
        func.parent_block().add_ops(made)  # pyright: ignore[reportOptionalMemberAccess]


PASS = OutlineNpuPass
