"""Allocated one-function programs around hand-made nests, run by LLVM code and by the semantics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from tilewright.backends.cpu.emit import emit_function, whole_function
from tilewright.backends.cpu.jit import aligned, load
from tilewright.backends.cpu.runtime import slots
from tilewright.backends.cpu.schedule import Vectors
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import ApplyOp, Linear, NestOp, ScalarYieldOp
from tilewright.dialects.semantics.loop import run
from tilewright.dialects.types import Param, integer, ints, memref, numpy_dtype

Buffer = tuple[Sequence[int], Attribute]
"""Shape and element type."""


def program(
    ins: Sequence[Buffer], outs: Sequence[Buffer], make: Callable[..., Sequence[Operation]]
) -> FuncOp:
    """`@main` over buffers laid out in order; `make` builds operations on its arguments."""
    types = [memref(shape, element, "dram") for shape, element in (*ins, *outs)]
    block = Block(arg_types=types)
    offsets, at = list[int](), 0
    for shape, element in (*ins, *outs):
        offsets.append(at)
        at += -(-int(np.prod(shape)) * numpy_dtype(element).itemsize // 64) * 64 + 64
    block.add_ops([*make(*block.args), ReturnOp()])
    func = FuncOp("main", (types, []), Region(block))
    func.attributes |= {
        "num_inputs": integer(len(ins)),
        "arg_offsets": ints(offsets),
        "arena_bytes": integer(at),
        "const_bytes": integer(0),
    }
    ModuleOp([func.clone()]).verify()
    return func


def body(types: Sequence[Attribute], make: Callable[..., Sequence[Operation]]) -> Region:
    """A scalar region yielding the result of the last operation of `make(*arguments)`."""
    block = Block(arg_types=types)
    ops = list(make(*block.args))
    value: SSAValue = ops[-1].results[0] if ops else block.args[0]
    block.add_ops([*ops, ScalarYieldOp([value])])
    return Region(block)


def elementwise(
    fn: str,
    types: Sequence[Attribute],
    result: Attribute,
    size: int,
    params: Mapping[str, Param] | None = None,
) -> FuncOp:
    """One scalar function over vectors of `size`."""

    def make(*args: SSAValue) -> list[Operation]:
        map = Linear.select([0], 1)
        region = body(types, lambda *xs: [ApplyOp(fn, xs, result, dict(params or {}))])
        return [NestOp([size], args[:-1], [], [map] * len(args), region, outs=[args[-1]])]

    return program([((size,), t) for t in types], [((size,), result)], make)


def run_both(
    func: FuncOp,
    inputs: Sequence[Array],
    machine: Vectors | None = None,
    *,
    guarded: bool = True,
    consts: Array | None = None,
) -> tuple[list[Array], list[Array]]:
    """Outputs by machine code and by the semantics; `guarded`: nothing else is written."""
    ins, outs = slots(func)
    arena = aligned(func.attributes["arena_bytes"].value.data)  # pyright: ignore
    for slot, array in zip(ins, inputs, strict=True):
        slot.view(arena)[...] = array
    reference, guard = arena.copy(), arena.copy()
    consts = aligned(64) if consts is None else consts
    load(emit_function(func, whole_function(func), machine)).call("tw_main", consts, arena)
    run(func, reference, consts)
    written = np.zeros(arena.size, bool)
    for slot in outs:
        written[slot.offset : slot.offset + slot.view(arena).nbytes] = True
    assert not guarded or np.array_equal(arena[~written], guard[~written]), (
        "wrote outside the outputs"
    )
    return [s.view(arena).copy() for s in outs], [s.view(reference).copy() for s in outs]


def ulps(got: Array, want: Array) -> float:
    """Largest distance in units in the last place; NaN and infinity must agree exactly."""
    got, want = np.atleast_1d(got), np.atleast_1d(want)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    if same.all():
        return 0.0
    with np.errstate(all="ignore"):
        tiny = np.finfo(want.dtype).tiny
        unit = np.spacing(np.maximum(np.abs(want), tiny))
        distance = np.abs(got.astype(np.float64) - want.astype(np.float64)) / unit.astype(
            np.float64
        )
    return float(np.nanmax(np.where(same, 0, np.where(np.isfinite(distance), distance, np.inf))))
