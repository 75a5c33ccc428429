"""Evaluating a module at the loop and npu levels: host nests and NPU segments over one arena.

At these levels `@main` stays whole, and the segments for the NPU stand beside it as functions
(tile loops) or programs (commands).  Their meaning is `@main` with each NPU segment replaced by
its lowered form, so a wrong tile or a missing command shows in the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, ModuleOp
from xdsl.dialects.func import FuncOp

from ..dialects.constants import Array
from ..dialects.npu import ProgramOp
from ..dialects.semantics import loop as loop_semantics
from ..dialects.types import int_values, numpy_dtype, shaped
from ..passes.base import CompilerContext, main_function
from ..passes.loop.packing import pack_constants
from ..passes.loop.segments import segments


def integer_attribute(func: FuncOp, name: str) -> int | None:
    """An integer attribute of a function, None if absent."""
    attr = func.attributes.get(name)
    return attr.value.data if isinstance(attr, IntegerAttr) else None


def evaluate_loops(ctx: CompilerContext, module: ModuleOp, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of a loop-level module, with NPU segments in whatever form they have reached."""
    func = main_function(module)
    if integer_attribute(func, "arena_bytes") is None:
        return loop_semantics.evaluate(module, list(inputs), ctx.constants)
    lowered = {
        op.sym_name.data: op
        for op in module.ops
        if isinstance(op, FuncOp | ProgramOp) and op.sym_name.data != "main"
    }
    arena = np.zeros(integer_attribute(func, "arena_bytes") or 0, np.uint8)
    consts = np.frombuffer(pack_constants(module, ctx.constants), np.uint8)
    views = argument_views(func, arena)
    count = integer_attribute(func, "num_inputs") or 0
    for view, value in zip(views[:count], inputs, strict=True):
        view[...] = value
    if not lowered:
        loop_semantics.run(func, arena, consts)
    else:
        for segment in segments(func):
            replacement = (
                lowered.get(f"npu_segment_{segment.index}") if segment.kind == "npu" else None
            )
            if replacement is None:
                loop_semantics.run_ops(segment.ops, func, arena, consts)
            elif isinstance(replacement, ProgramOp):
                from ..dialects.semantics import npu

                npu.run(replacement, arena, consts)
            else:
                loop_semantics.run(replacement, arena, consts)
    return [view.copy() for view in views[count:]]


def argument_offsets(func: FuncOp) -> tuple[int, ...]:
    """Where each argument of an allocated `@main` lies in the arena, in bytes."""
    offsets = func.attributes["arg_offsets"]
    assert isinstance(offsets, DenseArrayBase)
    return int_values(cast(DenseArrayBase[Any], offsets))


def argument_views(func: FuncOp, arena: Array) -> list[Array]:
    """Views of the arena for each argument of an allocated `@main` (inputs, then outputs)."""
    out: list[Array] = []
    types = map(shaped, func.function_type.inputs)
    for type, offset in zip(types, argument_offsets(func), strict=True):
        shape, dtype = type.get_shape(), numpy_dtype(type.element_type)
        size = int(np.prod(shape)) * dtype.itemsize
        out.append(arena[offset : offset + size].view(dtype).reshape(shape))
    return out
