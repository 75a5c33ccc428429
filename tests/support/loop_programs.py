"""Graph modules for tests of the loop level, and running them at each of its stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from tilewright.compiler.staged import argument_offsets, integer_attribute
from tilewright.dialects.constants import Array
from tilewright.dialects.graph import ConstantOp
from tilewright.dialects.locations import location
from tilewright.dialects.semantics import graph, loop
from tilewright.dialects.types import element_type, string, tensor
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.loop.allocate_arena import AllocateArenaPass
from tilewright.passes.loop.bufferize import BufferizePass
from tilewright.passes.loop.lower_to_loop import LowerToLoopPass
from tilewright.passes.loop.packing import pack_constants


class Program:
    """A graph module under construction, with the values of its inputs."""

    def __init__(self, seed: int = 0):
        self.ctx = CompilerContext()
        self.rng = np.random.default_rng(seed)
        self.block = Block()
        self.inputs: list[Array] = []

    def input(self, array: Array, encoding: Attribute | None = None) -> SSAValue:
        """A new input with this value."""
        self.inputs.append(np.ascontiguousarray(array).reshape(array.shape))
        return self.block.insert_arg(
            tensor(array.shape, element_type(array.dtype), encoding), len(self.block.args)
        )

    def floats(self, *shape: int, dtype: type[np.generic] = np.float32) -> Array:
        """Random floats."""
        return self.rng.standard_normal(shape).astype(dtype)

    def int8(self, *shape: int) -> Array:
        """Random bytes."""
        return self.rng.integers(-128, 128, shape, np.int8)

    def constant(self, array: Array, encoding: Attribute | None = None) -> SSAValue:
        """A constant."""
        return self.add(ConstantOp.from_array(array, self.ctx.constants, encoding=encoding))

    def add(self, op: Operation) -> SSAValue:
        """Append `op`, named after its position; returns its (first) result."""
        name = f"n{len(list(self.block.ops))}"
        op.location = location([name])
        op.attributes.setdefault("tensor", string(f"{name}:0"))
        self.block.add_op(op)
        return op.results[0]

    def module(self, outputs: Sequence[SSAValue]) -> ModuleOp:
        """The verified module that returns `outputs`."""
        self.block.add_op(ReturnOp(*outputs))
        func = FuncOp(
            "main",
            ([a.type for a in self.block.args], [o.type for o in outputs]),
            Region(self.block),
        )
        names = [string(f"in{i}") for i in range(len(self.inputs))]
        func.attributes["input_names"] = ArrayAttr(names)
        func.attributes["output_names"] = ArrayAttr(
            [string(f"out{i}") for i in range(len(outputs))]
        )
        module = ModuleOp([func])
        module.verify()
        return module


def same(got: Sequence[Array], want: Sequence[Array], stage: str, tolerance: float = 1e-5) -> None:
    """Exact for integers; floats within `tolerance` of the largest magnitude."""
    assert len(got) == len(want), stage
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{stage}: output {i}"
        if b.dtype.kind in "fV":
            a, b = a.astype(np.float64), b.astype(np.float64)
            limit = tolerance * max(1.0, float(np.max(np.abs(b[np.isfinite(b)]), initial=0)))
            np.testing.assert_allclose(
                a, b, rtol=tolerance, atol=limit, err_msg=f"{stage}: output {i}"
            )
        else:
            np.testing.assert_array_equal(a, b, err_msg=f"{stage}: output {i}")


def run_allocated(
    module: ModuleOp, ctx: CompilerContext, inputs: Sequence[Array], like: Sequence[Array]
) -> list[Array]:
    """Outputs of an allocated module, run on an arena; `like` gives their shapes and types."""
    func = main_function(module)
    arena = np.full(integer_attribute(func, "arena_bytes") or 0, 0xA5, np.uint8)
    consts = np.frombuffer(pack_constants(module, ctx.constants), np.uint8)
    assert consts.size == integer_attribute(func, "const_bytes")
    offsets = argument_offsets(func)
    for offset, value in zip(offsets, inputs, strict=False):
        arena[offset : offset + value.nbytes] = (
            np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        )
    loop.run(func, arena, consts)
    outputs = zip(offsets[len(inputs) :], like, strict=True)
    return [arena[o : o + v.nbytes].view(v.dtype).reshape(v.shape).copy() for o, v in outputs]


def check_stages(
    module: ModuleOp, ctx: CompilerContext, inputs: Sequence[Array], tolerance: float = 1e-5
) -> ModuleOp:
    """Lower `module` through the loop level; every stage must mean what the graph means."""
    want = graph.evaluate(module, inputs, ctx.constants)
    for made in (LowerToLoopPass(), BufferizePass()):
        made.apply(ctx, module)
        module.verify()
        same(loop.evaluate(module, inputs, ctx.constants), want, made.name, tolerance)
    AllocateArenaPass().apply(ctx, module)
    module.verify()
    same(run_allocated(module, ctx, inputs, want), want, "allocate-arena", tolerance)
    return module
