"""Sums of products of 8-bit integers, two terms at a time.

    acc[j] += x[k] * w[k][j] + x[k+1] * w[k+1][j]     one instruction on pairs (`tw_dot_W`)

The operand that is the same in all lanes (activations) is widened once into an i16 copy, its zero
point taken off and padding filled in, so that a pair is one 32-bit load; rows of the other operand
(weights) are widened and interleaved as they are loaded, which the rows of a block share.  Exact:
a widened value fits 16 bits, and the sum wraps in 32 as the definition does.
"""

from __future__ import annotations

from dataclasses import replace

from ...dialects.loop import NestOp, row_major_strides
from ...dialects.types import shape_of
from .llvm_text import I16, I32, Function, Value, constant
from .nest import Access, Nest, Program, Step, parameters
from .scalars import cast

LEAST_LANES = 8
"""Results that must share a widened value for the copy to pay."""


def _factors(program: Program) -> tuple[int, int] | None:
    """Both zero points if the program is `mul(widen(a), widen(b))` of 8-bit values."""
    if (
        len(program.arguments) != 2
        or len(program.steps) != 3
        or any(t.bits != 8 for t in program.arguments)
    ):
        return None
    first, second, last = program.steps
    if (
        last.op != "apply"
        or last.payload[0] != "mul"
        or set(last.args) != {2, 3}
        or program.result != 4
    ):
        return None
    zero_points: dict[int, int] = {}
    for step in (first, second):
        if step.op != "apply" or step.payload[0] != "widen":
            return None
        zero_points[step.args[0]] = int(parameters(step)[1].get("zp", 0))
    if set(zero_points) != {0, 1} or any(abs(z) > 255 for z in zero_points.values()):
        return None
    return zero_points[0], zero_points[1]


def widened_operand(op: NestOp, nest: Nest) -> int | None:
    """Which operand to copy as i16, if the nest is a sum of products that gains by it."""
    if nest.reduce != "add" or _factors(nest.body) is None:
        return None
    strides = [
        m.flat(row_major_strides(shape_of(v)))[0]
        for m, v in zip(op.linear_maps, op.ins, strict=False)
    ]
    for row, column in ((0, 1), (1, 0)):
        shared = any(
            strides[column][d] == 1 and strides[row][d] == 0 and nest.sizes[d] >= LEAST_LANES
            for d in op.parallel
        )
        if shared and any(strides[row][d] == 1 and nest.sizes[d] > 1 for d in op.reduced):
            return row
    return None


def with_widened(nest: Nest, row: int) -> tuple[Nest, Program]:
    """`nest` reading operand `row` as widened i16, and the scalar program that widens it."""
    zero_points = _factors(nest.body)
    assert zero_points is not None
    program = nest.body
    steps = tuple(
        replace(s, payload=("cast", ())) if s.args == (row,) and s.payload[0] == "widen" else s
        for s in program.steps
    )
    arguments = tuple(I16 if i == row else t for i, t in enumerate(program.arguments))
    widen = Program(
        (program.arguments[row],),
        (
            Step("apply", ("widen", (("zp", zero_points[row]),)), (0,), I32),
            Step("apply", ("cast", ()), (1,), I16),
        ),
        2,
    )
    return replace(nest, body=replace(program, arguments=arguments, steps=steps)), widen


def paired(nest: Nest, vector: int | None, innermost: int) -> tuple[int, int] | None:
    """(row operand, zero point of the other) if the kernel of a simplified nest can go by pairs."""
    program = nest.body
    if (
        nest.reduce != "add"
        or vector is None
        or vector in nest.reduced
        or len(program.arguments) != 2
    ):
        return None
    if sorted(t.bits for t in program.arguments) != [8, 16]:
        return None
    row = 0 if program.arguments[0].bits == 16 else 1
    if (
        len(program.steps) != 3
        or program.steps[2].payload[0] != "mul"
        or program.steps[2].args not in ((2, 3), (3, 2))
    ):
        return None
    names = {s.args: s for s in program.steps[:2]}
    widen = names.get((1 - row,))
    if (
        widen is None
        or widen.payload[0] != "widen"
        or (row,) not in names
        or names[(row,)].payload[0] != "cast"
    ):
        return None
    reads: tuple[Access, ...] = nest.accesses
    if (
        reads[row].strides[vector]
        or reads[row].strides[innermost] != 1
        or reads[1 - row].strides[vector] != 1
    ):
        return None
    if reads[row].conditions or reads[1 - row].conditions:
        return None
    return row, int(parameters(widen)[1].get("zp", 0))


def interleaved(f: Function, first: Value, second: Value, zero_point: int) -> Value:
    """Two rows of 8-bit values as pairs of i16, zero point taken off."""
    lanes = first.type.lanes
    wide = I16.wide(lanes)
    rows = [cast(f, v, wide) for v in (first, second)]
    if zero_point:
        rows = [f.binary("sub", v, constant(zero_point, wide)) for v in rows]
    mask = ", ".join(f"i32 {k + side}" for k in range(lanes) for side in (0, lanes))
    text = f"shufflevector {rows[0].typed}, {rows[1].typed}, <{2 * lanes} x i32> <{mask}>"
    return Value(f.op(text), I16.wide(2 * lanes))


def dot(f: Function, acc: Value, row: Value, column: Value) -> Value:
    """Acc plus the products of a broadcast pair (as one i32) and interleaved rows."""
    lanes = acc.type.lanes
    pair = f.convert("bitcast", f.broadcast(row, lanes), I16.wide(2 * lanes))
    return Value(
        f.op(f"call {acc.type.text} @tw_dot_{lanes}({acc.typed}, {pair.typed}, {column.typed})"),
        acc.type,
    )
