"""Layers of random chains that work on rows: softmax and normalisation."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from support.chain import Chain, image_of, matrix_of, rows
from support.segments import Scalars
from tilewright.dialects import fixed_point
from tilewright.dialects.loop import ExtractOp, ScalarConstantOp


def softmax(c: Chain, x: SSAValue) -> None:
    """Maximum, reciprocal of the sum of exponentials (i32), quotient: as lower-to-loop has them."""
    s, (a, m, n) = c.segment, matrix_of(c, x)
    bits, entries = fixed_point.exponential_table(0.05, n)
    table = s.constant(np.asarray(entries, np.int32))
    top, inverse, y = s.buffer([m, 1]), s.buffer([m, 1], i32), s.buffer([m, n])

    def power(k: Scalars, x: SSAValue, top: SSAValue) -> SSAValue:
        below = k.apply("sub", [k.apply("widen", [v], i32) for v in (top, x)], i32)
        op = ExtractOp(table, [below])
        k.block.add_op(op)
        return op.result

    def quotient(k: Scalars) -> SSAValue:
        e = power(k, k.block.args[0], k.block.args[1])
        shift = ScalarConstantOp(bits + 22, i32)
        k.block.add_op(shift)
        limits = {"zp": -128, "lo": -128, "hi": 127}
        return k.apply("requantize", [e, k.block.args[2], shift.result], **limits)

    line, same = (rows(0, None), rows(0, 1))
    s.nest([m, n], [(a, same, None, None)], (top, line, None), reduce="max", reduced=[1])
    s.nest(
        [m, n],
        [(a, same, None, None), (top, line, None, None)],
        (inverse, line, None),
        reduce="add",
        reduced=[1],
        accumulator=lambda k: power(k, *k.block.args[:2]),
        chain=lambda k: k.apply("qreciprocal", [k.block.args[0]], i32, bits=bits + 30),
    )
    s.nest(
        [m, n],
        [(a, same, None, None), (top, line, None, None), (inverse, line, None, None)],
        (y, same, None),
        accumulator=quotient,
    )
    image_of(c, y)


def norm(c: Chain, x: SSAValue) -> None:
    """Sum, inverse deviation (both i32), scaled deviations: as lower-to-loop has them."""
    s, (a, m, n) = c.segment, matrix_of(c, x)
    epsilon = 590
    bits, extra = fixed_point.norm_bits(n, epsilon)
    total, inverse, y = s.buffer([m, 1], i32), s.buffer([m, 1], i32), s.buffer([m, n])
    gain, offset = (s.constant(s.rng.integers(-9999, 9999, n, np.int32)) for _ in range(2))
    line, same = (rows(0, None), rows(0, 1))
    s.nest(
        [m, n],
        [(a, same, None, None)],
        (total, line, None),
        reduce="add",
        reduced=[1],
        zero_points=(3,),
    )

    def square(k: Scalars) -> SSAValue:
        wide = k.apply("widen", [k.block.args[0]], i32, zp=3)
        return k.apply("mul", [wide, wide], i32)

    def deviation(k: Scalars) -> SSAValue:
        args = [k.block.args[0], k.operand(total, line)]
        given = {"count": n, "epsilon": epsilon, "bits": bits, "extra": extra}
        return k.apply("qrsqrt", args, i32, **given)

    def scaled(k: Scalars) -> SSAValue:
        given = {"x_zp": 3, "count": n, "bits": bits, "shift": 30, "zp": 5, "lo": -128, "hi": 127}
        return k.apply("qnorm", list(k.block.args), **given)

    s.nest(
        [m, n],
        [(a, same, None, None)],
        (inverse, line, None),
        reduce="add",
        reduced=[1],
        accumulator=square,
        chain=deviation,
    )
    reads = ((a, same), (total, line), (inverse, line), (gain, rows(1)), (offset, rows(1)))
    s.nest(
        [m, n],
        [(value, map, None, None) for value, map in reads],
        (y, same, None),
        accumulator=scaled,
    )
    image_of(c, y)
