"""Loop-level cases of contractions, windows and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from support.loop_case import case, family
from tilewright.dialects.fixed_point import (
    quantize_multiplier,
)
from tilewright.dialects.graph import (
    ArgReduceOp,
    ConvOp,
    LookupOp,
    MatMulOp,
    PoolOp,
    QuantAttr,
    ReduceOp,
    RequantizeOp,
    SoftmaxOp,
)
from tilewright.dialects.graph.reduction import REDUCTIONS

from .loop_programs import Program


# --- contractions ---
@family("conv", *((layout, g) for layout in ("NCHW", "NHWC") for g in (1, 2, 4)))
def _conv(p: Program, option: tuple[str, int]) -> list[SSAValue]:
    layout, group = option
    nchw = layout == "NCHW"
    x = p.input(p.floats(*((2, 4, 7, 6) if nchw else (2, 7, 6, 4))))
    w = p.constant(p.floats(*((8, 4 // group, 3, 2) if nchw else (3, 2, 4 // group, 8))))
    b = p.constant(p.floats(8))
    return [
        p.add(
            ConvOp(
                x,
                w,
                b,
                strides=[2, 1],
                pads=[1, 0, 2, 1],
                dilations=[1, 2],
                group=group,
                layout=layout,
            )
        )
    ]


@family("depthwise", "NCHW", "NHWC")
def _depthwise(p: Program, layout: str) -> list[SSAValue]:
    nchw = layout == "NCHW"
    x = p.input(p.floats(*((1, 5, 6, 6) if nchw else (1, 6, 6, 5))))
    w = p.constant(p.floats(*((5, 1, 3, 3) if nchw else (3, 3, 1, 5))))
    return [
        p.add(ConvOp(x, w, strides=[1, 2], pads=[1] * 4, dilations=[1, 1], group=5, layout=layout))
    ]


@family("conv_rank", 1, 3)
def _conv_rank(p: Program, n: int) -> list[SSAValue]:
    x, w = p.input(p.floats(1, 2, *[6] * n)), p.constant(p.floats(3, 2, *[3] * n))
    return [p.add(ConvOp(x, w, strides=[1] * n, pads=[1] * 2 * n, dilations=[1] * n))]


@case
def conv_half(p: Program) -> list[SSAValue]:
    x, w = (
        p.input(p.floats(1, 3, 5, 5, dtype=np.float16)),
        p.constant(p.floats(4, 3, 3, 3, dtype=np.float16)),
    )
    return [p.add(ConvOp(x, w, strides=[1, 1], pads=[1] * 4, dilations=[1, 1]))]


@family("conv_integer", 1, 2, 4)
def _conv_integer(p: Program, group: int) -> list[SSAValue]:
    x = p.input(p.int8(1, 6, 6, 4))
    w = p.constant(p.int8(3, 3, 4 // group, 4))
    b = p.constant(p.rng.integers(-1000, 1000, 4, np.int32))
    acc = p.add(
        ConvOp(
            x,
            w,
            b,
            strides=[1, 1],
            pads=[1] * 4,
            dilations=[1, 1],
            group=group,
            layout="NHWC",
            x_zp=3,
        )
    )
    m, s = zip(*(quantize_multiplier(v) for v in p.rng.uniform(0.001, 0.01, 4)), strict=True)
    q = RequantizeOp(
        acc,
        p.constant(np.array(m, np.int32)),
        p.constant(np.array(s, np.int32)),
        QuantAttr.get([0.1], [-5]),
        lo=-100,
    )
    table = p.constant(p.int8(256))
    return [p.add(LookupOp(p.add(q), table))]


@family("matmul", ((3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((7, 1, 4), (7, 4, 1)))
def _matmul(p: Program, shapes: Any) -> list[SSAValue]:
    a, b = p.input(p.floats(*shapes[0])), p.input(p.floats(*shapes[1]))
    return [p.add(MatMulOp(a, b, p.constant(p.floats(shapes[1][-1]))))]


@case
def matmul_integer(p: Program) -> list[SSAValue]:
    a, b = p.input(p.int8(5, 33)), p.input(p.rng.integers(0, 256, (33, 6), np.uint8))
    return [
        p.add(MatMulOp(a, b, p.constant(p.rng.integers(-99, 99, 6, np.int32)), a_zp=-7, b_zp=128))
    ]


@case
def matmul_wide_integer(p: Program) -> list[SSAValue]:
    a = p.input(p.rng.integers(-(2**31), 2**31, (3, 4)).astype(np.int32))
    return [p.add(MatMulOp(a, p.input(p.rng.integers(-(2**31), 2**31, (4, 2)).astype(np.int32))))]


# --- windows and reductions ---
@family(
    "pool",
    *((k, at, c) for k in ("max", "average", "sum") for at in ("NCHW", "NHWC") for c in (0, 1)),
)
def _pool(p: Program, option: tuple[str, str, int]) -> list[SSAValue]:
    kind, layout, count = option
    x = p.input(p.floats(1, 6, 7, 5))
    pads = [1, 0, 2, 1]
    return [
        p.add(
            PoolOp(
                x,
                kind,
                kernel=[3, 2],
                strides=[2, 2],
                pads=pads,
                ceil_pads=[1, 0],
                count_include_pad=count,
                layout=layout,
            )
        )
    ]


@case
def pool_integer(p: Program) -> list[SSAValue]:
    x = p.input(p.int8(1, 6, 6, 3))
    total = p.add(
        PoolOp(x, "sum", kernel=[2, 3], strides=[2, 1], pads=[1] * 4, layout="NHWC", x_zp=9)
    )
    top = p.add(
        PoolOp(
            x, "max", kernel=[3, 3], strides=[1, 1], pads=[1] * 4, dilations=[2, 1], layout="NHWC"
        )
    )
    return [total, top]


@case
def pool_half(p: Program) -> list[SSAValue]:
    x = p.input(p.floats(1, 2, 6, 6, dtype=np.float16))
    return [
        p.add(PoolOp(x, kind, kernel=[2, 2], strides=[2, 2], pads=[0] * 4))
        for kind in ("max", "average")
    ]


@family("reduce", *((k, keep) for k in REDUCTIONS for keep in (0, 1)))
def _reduce(p: Program, option: tuple[str, int]) -> list[SSAValue]:
    x = p.input(np.abs(p.floats(2, 3, 4)) + np.float32(0.1))
    return [p.add(ReduceOp(x, option[0], axes, option[1])) for axes in ([1], [0, 2], [0, 1, 2], [])]


@case
def reduce_infinite(p: Program) -> list[SSAValue]:
    x = p.input(np.array([[-np.inf, -np.inf], [1, -np.inf]], np.float32))
    return [p.add(ReduceOp(x, "log_sum_exp", [1]))]


@case
def reduce_integer(p: Program) -> list[SSAValue]:
    x, y = p.input(p.int8(3, 5)), p.input(p.rng.integers(-9, 9, (3, 5)).astype(np.int64))
    return [
        p.add(ReduceOp(x, "sum", [1], x_zp=4)),
        p.add(ReduceOp(x, "max", [0])),
        *(p.add(ReduceOp(y, k, [1])) for k in ("sum", "mean", "min", "prod", "l1")),
    ]


@family("softmax", 0, 1, 2)
def _softmax(p: Program, axis: int) -> list[SSAValue]:
    return [
        p.add(SoftmaxOp(p.input(p.floats(2, 3, 4) * 50), axis)),
        p.add(SoftmaxOp(p.input(p.floats(2, 3, 4, dtype=np.float16)), axis)),
    ]


@family("arg", *((k, last) for k in ("max", "min") for last in (0, 1)))
def _arg(p: Program, option: tuple[str, int]) -> list[SSAValue]:
    x, q = p.input(np.rint(p.floats(3, 8))), p.input(p.int8(4, 3))
    return [
        p.add(ArgReduceOp(v, option[0], axis, keep, option[1]))
        for v in (x, q)
        for axis, keep in ((0, 0), (1, 1))
    ]
