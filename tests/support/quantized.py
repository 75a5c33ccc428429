"""Quantising modules and single operations in tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from tilewright.backends.targets.machine import Dram, Machine, MatrixUnit, Memory, VectorUnit
from tilewright.dialects.constants import Array, ConstantStore
from tilewright.dialects.graph import ConstantOp, DequantizeOp, QuantAttr, QuantizeOp
from tilewright.dialects.types import tensor
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.graph.calibration import input_names
from tilewright.passes.registry import find_pass

MACHINE = Machine(
    name="small", description="", source="", clock_hz=1e9,
    matrix=MatrixUnit(16, 16), vector=VectorUnit(16),
    scratchpad=Memory(1 << 18), accumulator=Memory(1 << 16), dram=Dram(16.0),
)  # fmt: skip


def context(module: ModuleOp, store: ConstantStore, inputs: Sequence[Array]) -> CompilerContext:
    """A context calibrated on `inputs`, as a single sample."""
    names = input_names(main_function(module))
    return CompilerContext(constants=store, calibration=dict(zip(names, inputs, strict=True)))


def run(ctx: CompilerContext, module: ModuleOp, *names: str) -> None:
    """Run passes by name and verify."""
    for name in names:
        find_pass(name)().run(ctx, module)
    module.verify()


class Graph:
    """Builds `@main` operation by operation."""

    def __init__(self, store: ConstantStore, *shapes: Sequence[int]):
        self.store = store
        self.block = Block(arg_types=[tensor(s, f32) for s in shapes])

    @property
    def args(self) -> Sequence[SSAValue]:
        """The inputs."""
        return self.block.args

    def add(self, op: Operation) -> SSAValue:
        """Append `op` and give its result."""
        self.block.add_op(op)
        return op.results[0]

    def constant(self, array: Array, encoding: QuantAttr | None = None) -> SSAValue:
        """A constant."""
        return self.add(ConstantOp.from_array(array, self.store, encoding=encoding))

    def quantized(self, value: SSAValue, encoding: QuantAttr) -> SSAValue:
        """`value` rounded to `encoding`."""
        return self.add(DequantizeOp(self.add(QuantizeOp(value, encoding))))

    def module(self, *results: SSAValue) -> ModuleOp:
        """The finished module."""
        self.block.add_op(ReturnOp(*results))
        types = [a.type for a in self.block.args], [r.type for r in results]
        module = ModuleOp([FuncOp("main", types, Region(self.block))])
        module.verify()
        return module


def count(module: ModuleOp, *kinds: type[Operation]) -> int:
    """How many operations of `kinds` there are."""
    return sum(isinstance(op, kinds) for op in module.walk())


def steps_apart(a: Array, b: Array) -> int:
    """Largest difference of two arrays of stored values."""
    return int(np.max(np.abs(a.astype(np.int64) - b.astype(np.int64)), initial=0))
