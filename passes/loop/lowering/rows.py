"""Integer softmax and normalisation: reductions of rows, then one nest over the elements.

    qsoftmax    max nest (i8); sum of table[max - x], epilogue reciprocal (i32); the quotient nest
    qnorm       sum nest (i32); sum of squares, epilogue inverse root (i32); the scaling nest

Every nest is one reduction or elementwise step that a vector unit has a command for.
"""

from __future__ import annotations

from xdsl.dialects.builtin import i8, i32
from xdsl.ir import SSAValue

from ....dialects.graph import QNormOp, QSoftmaxOp
from ....dialects.types import int_values, shape_of
from . import maps
from .builder import NestBuilder
from .kernel import Kernel
from .reduction import Row, row_domain


def _power(nest: NestBuilder, x: SSAValue, top: SSAValue, table: SSAValue) -> SSAValue:
    """table[top - x]."""
    below = nest.apply("sub", [nest.apply("widen", [v], i32) for v in (top, x)], i32)
    return nest.extract(table, [below])


def qsoftmax(k: Kernel, op: QSoftmaxOp) -> None:
    """Maximum, reciprocal of the sum of exponentials, and the quotient (the kernel's own nest)."""
    x, axis, bits = shape_of(op.x), op.axis.value.data, op.bits.value.data
    source, table = k.whole(op.x), k.whole(op.table)
    domain, rows, out, reduced = row_domain(x, [axis], True)
    same: list[Row] = [{d: 1} for d in range(len(x))]
    line: list[Row] = [{} if d == axis else {d: 1} for d in range(len(x))]

    def maximum(nest: NestBuilder) -> SSAValue:
        return nest.reduce(nest.read(source, nest.rows(rows)))

    top = k.side_nest(op, domain, out, i8, maximum, reduced=reduced, kind="max", hint="max")

    def total(nest: NestBuilder) -> SSAValue:
        a, b = nest.read(source, nest.rows(rows)), nest.read(top, nest.rows(out))
        acc = nest.reduce(_power(nest, a, b, table))
        return nest.apply("qreciprocal", [acc], i32, {"bits": bits + 30})

    inverse = k.side_nest(op, domain, out, i32, total, reduced=reduced, kind="add", hint="inverse")
    nest = k.begin(x, same)
    a, b, r = (
        nest.read(v, nest.rows(m)) for v, m in ((source, same), (top, line), (inverse, line))
    )
    args = [_power(nest, a, b, table), r, nest.const(bits + 22, i32)]
    nest.acc = nest.apply("requantize", args, i8, {"zp": -128, "lo": -128, "hi": 127})


def qnorm(k: Kernel, op: QNormOp) -> None:
    """Sum, inverse root of the squared deviations, and the scaled deviations."""
    x, axes, zp = shape_of(op.x), int_values(op.axes), op.x_zp.value.data
    source = k.whole(op.x)
    domain, rows, out, reduced = row_domain(x, axes, True)
    same: list[Row] = [{d: 1} for d in range(len(x))]
    line: list[Row] = [{} if d in axes else {d: 1} for d in range(len(x))]
    params = {n: getattr(op, n).value.data for n in ("epsilon", "bits", "extra")}
    scaling = {n: getattr(op, n).value.data for n in ("x_zp", "bits", "shift", "zp", "lo", "hi")}

    def widened(nest: NestBuilder) -> SSAValue:
        value = nest.read(source, nest.rows(rows))
        return nest.apply("widen", [value], i32, {"zp": zp} if zp else None)

    def add(nest: NestBuilder) -> SSAValue:
        return nest.reduce(widened(nest))

    total = None
    if op.centred.value.data:
        total = k.side_nest(op, domain, out, i32, add, reduced=reduced, kind="add", hint="sum")

    def spread(nest: NestBuilder) -> SSAValue:
        value = widened(nest)
        acc = nest.reduce(nest.apply("mul", [value, value], i32))
        mean = nest.const(0, i32) if total is None else nest.read(total, nest.rows(out))
        return nest.apply("qrsqrt", [acc, mean], i32, {"count": op.count, **params})

    inverse = k.side_nest(op, domain, out, i32, spread, reduced=reduced, kind="add", hint="inverse")
    nest = k.begin(x, same)
    at = nest.rows(same)
    args = [nest.read(source, at)]
    args.append(nest.const(0, i32) if total is None else nest.read(total, nest.rows(line)))
    args.append(nest.read(inverse, nest.rows(line)))
    for value in (op.gain, op.offset):
        args.append(nest.read(k.whole(value), maps.broadcast(at, shape_of(value), x)))
    nest.acc = nest.apply("qnorm", args, i8, {"count": op.count, **scaling})
