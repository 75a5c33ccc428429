"""Lower tiled NPU segments to programs of commands in hardware loops.

    func.func @npu_segment_0() {
      loop.for ... { loop.copy ...; loop.nest ... {tensorize = "matmul"} }
    }

becomes

    npu.program @npu_segment_0 { npu.loop 4 { npu.load(...) ...; npu.matmul(...) ... } }

Tile loops become hardware loops, buffers become byte buffers, coordinates become strides per loop;
reshapes disappear, since every descriptor carries its own shape, and so does the decoding of 2:4
weights, which smatmul does.  Commands are in program order and carry no tokens yet (insert-sync),
buffers no addresses (allocate-scratchpad).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import ModuleOp, StringAttr, i8
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError
from ...dialects.locations import onnx_nodes
from ...dialects.loop import (
    AllocOp,
    BroadcastOp,
    CopyOp,
    DecodeOp,
    FillOp,
    ForOp,
    GlobalOp,
    NestOp,
    ReshapeOp,
    SubviewOp,
    space_of,
)
from ...dialects.npu import AllocOp as NpuAllocOp
from ...dialects.npu import DramOp, ProgramOp
from ...dialects.npu.isa import WINDOWS
from ...dialects.types import element_of, memref, numpy_dtype, shape_of
from ..base import CompilerContext, Pass
from ..loop.cores import core_loops
from ..loop.tile_npu import npu_segments
from ..loop.tiling.classify import reduction_of
from .lowering.copies import lower_broadcast, lower_copy, lower_fill
from .lowering.emitter import Emitter
from .lowering.matrix import lower_matmul
from .lowering.vector import lower_elementwise, lower_window

_ELEMENTWISE = (
    "vrequant", "vadd", "vmul", "vlut", "vclip", "vwide", "vrecip", "vrsqrt", "vexp", "vnorm",
)  # fmt: skip


@dataclass(frozen=True)
class LowerToNpuPass(Pass):
    """Turn tiled segments into NPU programs: commands inside hardware loops."""

    name = "lower-to-npu"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Replace every segment function; CapacityError names an operation that has no commands."""
        if ctx.machine is None:
            return
        for func in npu_segments(module):
            program = lower_segment(func, ctx.machine)
            block = func.parent_block()
            assert block is not None
            block.insert_op_before(program, func)
            func.detach()
            func.erase()


def lower_segment(func: FuncOp, machine: Machine) -> ProgramOp:
    """The program of one tiled segment."""
    program = Block()
    loops, emitter = core_loops(func), Emitter(program, {})
    if loops:
        with emitter.cores(loops):
            _Lowering(emitter, machine).block(loops[-1].body.block)
    else:
        _Lowering(emitter, machine).block(func.body.block)
    out = ProgramOp(func.sym_name.data, Region(program))
    out.attributes.update(func.attributes)
    return out


class _Lowering:
    """Walks a segment and emits."""

    def __init__(self, out: Emitter, machine: Machine):
        self.out, self.machine = out, machine

    def block(self, block: Block) -> None:
        for op in block.ops:
            self.out.at(op)
            self.op(op)

    def op(self, op: Operation) -> None:
        out = self.out
        match op:
            case AllocOp() | GlobalOp():
                self.buffer(op)
            case ReshapeOp():
                out.values[op.result] = out.values[op.x]
            case DecodeOp():
                self.decoded(op)
            case SubviewOp():
                out.values[op.result] = out.values[op.buffer]
            case ForOp():
                self.loop(op)
            case CopyOp():
                lower_copy(op, out)
            case FillOp():
                lower_fill(op, out)
            case BroadcastOp():
                lower_broadcast(op, out)
            case NestOp():
                self.leaf(op)
            case ReturnOp():
                pass
            case _:
                raise self.unknown(op)

    def decoded(self, op: DecodeOp) -> None:
        """Only the array decodes: nothing but products may read what is compressed, as weights."""
        for use in op.result.uses:
            leaf = use.operation
            kind = leaf.attributes.get("tensorize")
            if not isinstance(leaf, NestOp) or kind != StringAttr("matmul"):
                raise self.unknown(leaf)
            if use.index != reduction_of(leaf).b:
                raise self.unknown(leaf)
        self.out.values[op.result] = self.out.values[op.x]

    def loop(self, op: ForOp) -> None:
        with self.out.loop(op):
            self.block(op.body.block)
            self.out.at(op)

    def buffer(self, op: AllocOp | GlobalOp) -> None:
        space = space_of(op.result)
        if space in ("dram", "const"):
            if op.offset is None:
                raise self.unknown(op)
            new: Operation = DramOp(op.offset.value.data, op.result.type)  # pyright: ignore[reportArgumentType]
        else:
            assert isinstance(op, AllocOp)
            size = prod(shape_of(op.result)) * numpy_dtype(element_of(op.result)).itemsize
            slots = op.slots.value.data if op.slots else 1
            address = op.offset.value.data if op.offset else None
            new = NpuAllocOp(memref([size], i8, space), slots, address)
        self.out.add(new)
        new.results[0].name_hint = op.result.name_hint
        self.out.values[op.result] = new.results[0]

    def leaf(self, nest: NestOp) -> None:
        kind = nest.attributes.get("tensorize")
        name = kind.data if isinstance(kind, StringAttr) else ""
        if name == "matmul":
            lower_matmul(nest, self.machine, self.out)
        elif name in _ELEMENTWISE:
            lower_elementwise(nest, name, self.out)
        elif name in WINDOWS:
            lower_window(nest, name, self.machine, self.out)
        else:
            raise self.unknown(nest)

    def unknown(self, op: Operation) -> CapacityError:
        return CapacityError(
            "has no NPU command",
            node=" + ".join(onnx_nodes(op)) or None,
            op=op.name,
            hint="segments must be allocated and tiled (allocate-arena, tile-npu) first",
        )


PASS = LowerToNpuPass
