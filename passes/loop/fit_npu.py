"""`fit-npu`: send nests that do not fit the NPU's memories to the CPU.

    %y = loop.nest ... on "npu"   ->   %y = loop.nest ... on "cpu"

`assign-device` judges operations by what the units compute; whether tiles fit the scratchpad and
the accumulators is known only of nests.  This pass asks tile-size selection, whose answers are
cached and used again by tile-npu.  Nests with more dimensions than descriptors and loop counters
are sure to hold are compiled once for trial.  The reason goes to `ctx.placement`.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region, SSAValue

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError
from ...dialects.locations import onnx_nodes
from ...dialects.loop import AllocOp, NestOp, captured
from ...dialects.npu.isa import MAX_DIMS, MAX_TENSOR_DIMS
from ...dialects.types import element_of, memref, shape_of, string
from ..base import CompilerContext, Pass, main_function
from ..npu.lower_to_npu import lower_segment
from .hoist_copies import HoistCopiesPass
from .tile_npu import SEGMENT_PREFIX, TileNpuPass, tiling_of

SURE_DIMENSIONS = 7
"""Domain dimensions (of a convolution) that never need more loops than the machine has."""


@dataclass(frozen=True)
class FitNpuPass(Pass):
    """Send nests that do not fit the NPU's memories to the CPU, and record why."""

    name = "fit-npu"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Set `device` of the nests of @main that the machine cannot run."""
        if ctx.machine is None:
            return
        block = main_function(module).body.block
        nests = [op for op in block.ops if isinstance(op, NestOp) and _on_npu(op)]
        reasons = {nest: misfit(nest, ctx.machine) for nest in nests}
        running = {
            node for nest, why in reasons.items() if why is None for node in onnx_nodes(nest)
        }
        for nest, why in reasons.items():
            if why is None:
                continue
            nest.device = string("cpu")
            for node in onnx_nodes(nest):
                if node not in running:
                    ctx.placement.setdefault(node, why)


def _on_npu(nest: NestOp) -> bool:
    return isinstance(nest.device, StringAttr) and nest.device.data == "npu"


def misfit(nest: NestOp, machine: Machine) -> str | None:
    """Why the machine cannot run a nest in tensor form; None if it can."""
    try:
        tiling_of(nest, machine)
        ranks = [len(shape_of(v)) for v in (*nest.reads, nest.output)]
        if (
            max(ranks) > MAX_TENSOR_DIMS
            or len(nest.sizes) > SURE_DIMENSIONS
            or len(nest.reduced) > MAX_DIMS - 2
        ):
            _compile(nest, machine)
    except CapacityError as error:
        return error.message
    return None


def _compile(nest: NestOp, machine: Machine) -> None:
    """Tile and lower a copy of `nest` alone; CapacityError if some limit is exceeded.

    Its tensors are given one more element on every axis, as if they were slices of bigger ones.
    """
    block = Block()
    mapping: dict[SSAValue, SSAValue] = {}

    def buffer(value: SSAValue, more: int) -> SSAValue:
        shape = [n + more for n in shape_of(value)]
        alloc = AllocOp(memref(shape, element_of(value), "dram"), offset=0)
        block.add_op(alloc)
        return alloc.result

    for value in nest.reads:
        mapping.setdefault(value, buffer(value, 1))
    for table in captured(nest):
        mapping.setdefault(table, buffer(table, 0))
    copy = NestOp(
        nest.sizes,
        [mapping[v] for v in nest.ins],
        [mapping[v] for v in nest.epilogue_ins],
        nest.linear_maps,
        Region(),
        reduce=nest.reduce.data,
        reduction_dims=nest.reduced,
        fills=nest.fill_values,
        outs=[buffer(nest.output, 1)],
        device="npu",
    )
    nest.body.clone_into(copy.body, value_mapper=mapping)
    nest.epilogue.clone_into(copy.epilogue, value_mapper=mapping)
    block.add_ops([copy, ReturnOp()])
    func = FuncOp(f"{SEGMENT_PREFIX}0", ([], []), Region(block))
    module, ctx = ModuleOp([func]), CompilerContext(machine=machine)
    TileNpuPass().run(ctx, module)
    HoistCopiesPass().run(ctx, module)
    lower_segment(func, machine)


PASS = FitNpuPass
