"""The outlined functions, run one after another with the CPU segments, are the program."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from support.loop_dags import dags
from support.loop_programs import Program, check_stages
from tilewright.compiler.staged import integer_attribute
from tilewright.dialects.semantics import loop
from tilewright.passes.base import main_function
from tilewright.passes.loop.outline_npu import PREFIX, OutlineNpuPass
from tilewright.passes.loop.packing import pack_constants
from tilewright.passes.loop.segments import segments


@settings(max_examples=100, deadline=None)
@given(dags())
def test_segments_make_the_program(made: tuple[Program, ModuleOp]) -> None:
    program, module = made
    check_stages(module, program.ctx, program.inputs)
    func = main_function(module)
    consts = np.frombuffer(pack_constants(module, program.ctx.constants), np.uint8)
    size = integer_attribute(func, "arena_bytes")
    arena = np.random.default_rng(0).integers(0, 100, size).astype(np.uint8)
    whole = arena.copy()
    loop.run(func, whole, consts)
    OutlineNpuPass().apply(program.ctx, module)
    module.verify()
    outlined = {op.sym_name.data: op for op in module.ops if isinstance(op, FuncOp)}
    for segment in segments(func):
        if segment.kind == "npu":
            loop.run(outlined[f"{PREFIX}{segment.index}"], arena, consts)
        else:
            loop.run_ops(segment.ops, func, arena, consts)
    np.testing.assert_array_equal(arena, whole)
