"""Reductions, softmax and arg-reductions.

    mean          add nest, epilogue div
    log_sum_exp   max nest; sum of exp(x - max), epilogue log + max
    softmax       max nest; exp nest; sum nest; quotient nest
    arg max       max nest; min nest over select(x == max, index, none)

Reduction dimensions follow the parallel ones, in the operand's axis order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import f64, i1, i32, i64
from xdsl.ir import SSAValue

from ....dialects.graph import ArgReduceOp, ReduceOp, SoftmaxOp
from ....dialects.types import element_of, int_values, is_float, shape_of
from .builder import NestBuilder, compute_type
from .kernel import Kernel

Row = Mapping[int, int]


def row_domain(
    x: Sequence[int], axes: Sequence[int], keep: bool
) -> tuple[list[int], list[Row], list[Row], list[int]]:
    """(domain, operand rows, result rows, reduced dimensions) when reducing `axes`."""
    kept = [i for i in range(len(x)) if keep or i not in axes]
    domain = [1 if i in axes else x[i] for i in kept]
    dim = {i: d for d, i in enumerate(kept) if i not in axes}
    out: list[Row] = [{d: 1} for d in range(len(kept))]
    for axis in axes:
        dim[axis] = len(domain)
        domain.append(x[axis])
    return domain, [{dim[i]: 1} for i in range(len(x))], out, list(range(len(kept), len(domain)))


def reduce(k: Kernel, op: ReduceOp) -> None:
    """Every kind of `graph.reduce`."""
    x, axes, kind = shape_of(op.x), int_values(op.axes), op.kind.data
    element, result = element_of(op.x), element_of(op.result)
    domain, rows, out, reduced = row_domain(x, axes, bool(op.keepdims.value.data))
    top = _maximum(k, op, domain, rows, out, reduced) if kind == "log_sum_exp" else None
    nest = k.begin(
        domain,
        out,
        reduced=reduced,
        kind={"max": "max", "min": "min", "prod": "mul"}.get(kind, "add"),
    )
    value = k.scalar(op.x, nest.rows(rows))
    if kind == "sum" and element != result:
        value = nest.apply("widen", [value], i32, {"zp": op.x_zp.value.data})
    value = nest.wide(value)
    if not is_float(element) and kind in ("mean", "l2", "log_sum", "log_sum_exp"):
        value = nest.cast(value, i64 if kind == "mean" else f64)
    shift = nest.read(top, nest.rows(out)) if top is not None else None
    acc = nest.reduce(_prepare(nest, kind, value, shift))
    shift = nest.read(top, nest.rows(out)) if top is not None else None
    count = math.prod(x[a] for a in axes)
    nest.acc = nest.cast(_finish(nest, kind, acc, count, shift), result)


def _prepare(nest: NestBuilder, kind: str, value: SSAValue, shift: SSAValue | None) -> SSAValue:
    t = value.type
    match kind:
        case "l1":
            return nest.apply("abs", [value], t)
        case "l2" | "sum_square":
            return nest.apply("mul", [value, value], t)
        case "log_sum_exp":
            assert shift is not None
            return nest.apply("exp", [nest.apply("sub", [value, nest.cast(shift, t)], t)], t)
        case _:
            return value


def _finish(
    nest: NestBuilder, kind: str, acc: SSAValue, count: int, shift: SSAValue | None
) -> SSAValue:
    t = acc.type
    match kind:
        case "mean":
            return nest.apply("div", [acc, nest.const(count if is_float(t) or count else 1, t)], t)
        case "l2":
            return nest.apply("sqrt", [acc], t)
        case "log_sum":
            return nest.apply("log", [acc], t)
        case "log_sum_exp":
            assert shift is not None
            return nest.apply("add", [nest.apply("log", [acc], t), nest.cast(shift, t)], t)
        case _:
            return acc


def _maximum(
    k: Kernel, op: ReduceOp, domain: list[int], rows: list[Row], out: list[Row], reduced: list[int]
) -> SSAValue:
    """The maximum that log_sum_exp subtracts: 0 where it is infinite."""
    element = compute_type(element_of(op.x)) if is_float(element_of(op.x)) else f64

    def build(nest: NestBuilder) -> SSAValue:
        top = nest.reduce(nest.cast(nest.read(k.whole(op.x), nest.rows(rows)), element))
        infinite = nest.apply("isinf", [top], i1)
        return nest.apply("select", [infinite, nest.const(0.0, element), top], element)

    return k.side_nest(op, domain, out, element, build, reduced=reduced, kind="max", hint="max")


def softmax(k: Kernel, op: SoftmaxOp) -> None:
    """Maximum, exponentials, their sum, and the quotient (the kernel's own nest)."""
    x, axis = shape_of(op.x), op.axis.value.data
    rank, t = len(x), compute_type(element_of(op.x))
    source = k.whole(op.x)
    domain, rows, out, reduced = row_domain(x, [axis], True)
    same: list[Row] = [{d: 1} for d in range(rank)]
    line: list[Row] = [{} if d == axis else {d: 1} for d in range(rank)]

    def maximum(nest: NestBuilder) -> SSAValue:
        return nest.reduce(nest.wide(nest.read(source, nest.rows(rows))))

    top = k.side_nest(op, domain, out, t, maximum, reduced=reduced, kind="max", hint="max")

    def exponential(nest: NestBuilder) -> SSAValue:
        value = nest.wide(nest.read(source, nest.rows(same)))
        return nest.apply(
            "exp", [nest.apply("sub", [value, nest.read(top, nest.rows(line))], t)], t
        )

    powers = k.side_nest(op, x, same, t, exponential, hint="exp")

    def total(nest: NestBuilder) -> SSAValue:
        return nest.reduce(nest.read(powers, nest.rows(rows)))

    sums = k.side_nest(op, domain, out, t, total, reduced=reduced, kind="add", hint="sum")
    nest = k.begin(x, same)
    quotient = nest.apply(
        "div", [nest.read(powers, nest.rows(same)), nest.read(sums, nest.rows(line))], t
    )
    nest.acc = nest.cast(quotient, element_of(op.x))


def arg_reduce(k: Kernel, op: ArgReduceOp) -> None:
    """The extremum, then the first (or last) index that attains it, or holds a NaN."""
    x, axis, kind = shape_of(op.x), op.axis.value.data, op.kind.data
    last = bool(op.select_last.value.data)
    domain, rows, out, reduced = row_domain(x, [axis], bool(op.keepdims.value.data))
    source, t = k.whole(op.x), compute_type(element_of(op.x))

    def extremum(nest: NestBuilder) -> SSAValue:
        return nest.reduce(nest.wide(nest.read(source, nest.rows(rows))))

    best = k.side_nest(op, domain, out, t, extremum, reduced=reduced, kind=kind, hint=kind)
    nest = k.begin(domain, out, reduced=reduced, kind="max" if last else "min")
    value = nest.wide(nest.read(source, nest.rows(rows)))
    hit = nest.apply("equal", [value, nest.read(best, nest.rows(out))], i1)
    if is_float(t):
        hit = nest.apply("or", [hit, nest.apply("isnan", [value], i1)], i1)
    none = nest.const(-1 if last else int(np.iinfo(np.int64).max), i64)
    nest.reduce(nest.apply("select", [hit, nest.index(reduced[0]), none], i64))
