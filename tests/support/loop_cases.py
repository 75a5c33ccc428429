"""One small program for every operator and variant that the loop level lowers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from xdsl.ir import Operation, SSAValue

from tilewright.dialects.fixed_point import (
    add_multipliers,
    exponential_table,
    norm_bits,
    quantize_multiplier,
)
from tilewright.dialects.graph import (
    ArgReduceOp,
    BatchNormOp,
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConvOp,
    DequantizeOp,
    GatherOp,
    LookupOp,
    MapOp,
    MatMulOp,
    PadOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QNormOp,
    QSoftmaxOp,
    QuantAttr,
    QuantizeOp,
    ReduceOp,
    RequantizeOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
    place,
)
from tilewright.dialects.graph.reduction import REDUCTIONS
from tilewright.dialects.types import element_type, ui8

from .loop_programs import Program

Case = Callable[[Program], list[SSAValue]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case under its function's name."""
    CASES[function.__name__] = function
    return function


def family(name: str, *options: Any) -> Callable[[Callable[..., list[SSAValue]]], None]:
    """Register one case for each of `options`, passed after the program."""

    def register(function: Callable[..., list[SSAValue]]) -> None:
        for option in options:
            CASES[f"{name}-{option}".replace(" ", "")] = lambda p, option=option: function(
                p, option
            )

    return register


# --- rows ---
@family("qsoftmax", *((shape, axis) for shape in ((3, 7), (2, 5, 3)) for axis in (0, 1)))
def _qsoftmax(p: Program, option: tuple[tuple[int, ...], int]) -> list[SSAValue]:
    shape, axis = option
    bits, table = exponential_table(0.03, shape[axis])
    return [p.add(QSoftmaxOp(p.input(p.int8(*shape)), p.constant(table), axis, bits))]


@family("qnorm", *((axes, centred) for axes in ((2,), (1, 2), (0,)) for centred in (0, 1)))
def _qnorm(p: Program, option: tuple[tuple[int, ...], int]) -> list[SSAValue]:
    axes, centred = option
    shape = (3, 4, 6)
    count = int(np.prod([shape[a] for a in axes]))
    bits, extra = norm_bits(count, 90)
    gain = p.constant(p.rng.integers(-(2**29), 2**29, 6, np.int32))
    offset = p.constant(p.rng.integers(-(2**29), 2**29, (4, 1), np.int32))
    return [
        p.add(
            QNormOp(
                p.input(p.int8(*shape)), gain, offset, QuantAttr.get([0.1], [3]), axes=axes,
                centred=centred, x_zp=-5, epsilon=90, bits=bits, extra=extra, shift=43,
            )
        )
    ]  # fmt: skip


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


# --- elementwise ---
@family("map", "float32", "float16", "bfloat16", "float64")
def _map(p: Program, name: str) -> list[SSAValue]:
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name).type
    x, y = (
        p.input(np.abs(p.floats(2, 1, 4)).astype(dtype)),
        p.input((p.floats(3, 1) + 4).astype(dtype)),
    )
    unary = [p.add(MapOp(fn, [x])) for fn in ("relu", "exp", "sigmoid", "gelu", "neg", "isnan")]
    binary = [
        p.add(MapOp(fn, [x, y])) for fn in ("add", "sub", "mul", "div", "pow", "maximum", "less")
    ]
    return [
        *unary,
        *binary,
        p.add(MapOp("clip", [x], {"min": 0.25, "max": 0.5})),
        p.add(MapOp("select", [binary[-1], x, y])),
    ]


@case
def map_integer(p: Program) -> list[SSAValue]:
    x, y = p.input(p.rng.integers(-9, 9, (3, 4))), p.input(p.rng.integers(1, 9, (4,)))
    return [p.add(MapOp(fn, [x, y])) for fn in ("add", "mul", "div", "mod", "minimum", "equal")]


@case
def casts(p: Program) -> list[SSAValue]:
    x, h, q, b = (
        p.input(p.floats(5) * 9),
        p.input(p.floats(5, dtype=np.float16)),
        p.input(p.int8(5)),
        p.input(p.int8(5) > 0),
    )
    pairs = [
        (x, np.int32),
        (x, np.float16),
        (x, np.bool_),
        (h, np.float32),
        (h, np.int64),
        (h, ml_dtypes.bfloat16),
        (q, np.float32),
        (q, np.uint8),
        (b, np.float32),
        (b, np.int8),
    ]
    return [p.add(CastOp(v, element_type(t))) for v, t in pairs]


@case
def batch_norm(p: Program) -> list[SSAValue]:
    x = p.input(p.floats(2, 3, 4))
    scale, bias, mean, var = p.floats(3), p.floats(3), p.floats(3), np.abs(p.floats(3))
    return [p.add(BatchNormOp(x, *map(p.constant, (scale, bias, mean, var)), epsilon=1e-5))]


@case
def scalars(p: Program) -> list[SSAValue]:
    x = p.input(np.array(2.0, np.float32))
    return [
        p.add(MapOp("add", [x, p.constant(np.array(1.5, np.float32))])),
        p.add(ReshapeOp(x, [1, 1])),
    ]


# --- movement ---
@case
def movement(p: Program) -> list[SSAValue]:
    x = p.input(p.floats(2, 3, 4))
    return [
        p.add(TransposeOp(x, [2, 0, 1])),
        p.add(SliceOp(x, [1, 2, 0], [1, 3, 2], [1, -1, 3])),
        p.add(BroadcastOp(p.input(p.floats(3, 1)), [2, 3, 4])),
        p.add(ReshapeOp(x, [4, 6])),
        p.add(ConcatOp([x, x, p.add(MapOp("neg", [x]))], 1)),
    ]


@family("pad", "constant", "reflect", "edge", "wrap")
def _pad(p: Program, mode: str) -> list[SSAValue]:
    x, q = p.input(p.floats(2, 4, 5)), p.input(p.int8(4, 4))
    return [
        p.add(PadOp(x, [0, 1, -1], [0, 3, 2], mode, 2.5)),
        p.add(PadOp(q, [2, -1], [0, 1], mode, -3.0)),
    ]


@case
def gather(p: Program) -> list[SSAValue]:
    x = p.input(p.floats(4, 5, 3))
    indices = p.input(p.rng.integers(-5, 5, (2, 3)))
    fixed = [np.array(2), np.array([[0, 2], [2, 4]]), np.array([0, -1, 2])]
    return [p.add(GatherOp(x, indices, 1)), *(p.add(GatherOp(x, p.constant(i), 1)) for i in fixed)]


@family(
    "resize",
    *(
        (m, c)
        for m in ("nearest", "linear", "cubic")
        for c in ("half_pixel", "asymmetric", "align_corners")
    ),
)
def _resize(p: Program, option: tuple[str, str]) -> list[SSAValue]:
    mode, coordinates = option
    x, y = p.input(p.floats(1, 2, 4, 5)), p.input(p.floats(1, 4, 5, 2, dtype=np.float16))
    nearest = "floor" if coordinates == "asymmetric" else "round_prefer_floor"
    return [
        p.add(ResizeOp(x, [8, 15], mode, [2.0, 3.0], coordinates=coordinates, nearest=nearest)),
        p.add(ResizeOp(x, [3, 7], mode, [3 / 4, 7 / 5], coordinates=coordinates, nearest=nearest)),
        p.add(
            ResizeOp(
                y, [8, 5], mode, [2.0, 1.0], coordinates=coordinates, nearest=nearest, layout="NHWC"
            )
        ),
    ]


@family("folded", "npu", "cpu")
def _folded(p: Program, device: str) -> list[SSAValue]:
    """Shape-only operations as access maps, and where they cannot be."""
    x = p.input(p.floats(1, 6, 7, 8))

    def on(op: Operation) -> SSAValue:
        place(op, device)
        return p.add(op)

    channels = on(SliceOp(x, [0, 0, 0, 2], [1, 6, 7, 4]))
    rows = on(SliceOp(x, [0, 1, 0, 0], [1, 4, 7, 8]))
    strided = on(SliceOp(channels, [0, 5, 0, 0], [1, 3, 7, 4], [1, -2, 1, 1]))
    turned = on(TransposeOp(channels, [0, 3, 1, 2]))
    wide = on(BroadcastOp(p.input(p.floats(7, 1)), [1, 6, 7, 4]))
    line = on(ReshapeOp(on(SliceOp(x, [0, 2, 0, 0], [1, 1, 7, 8])), [7, 8]))
    w4, w8 = p.constant(p.floats(3, 3, 4, 5)), p.constant(p.floats(3, 3, 8, 5))
    out: list[Operation] = [
        ConvOp(v, w, strides=[1, 1], pads=[1] * 4, dilations=[1, 1], layout="NHWC")
        for v, w in ((channels, w4), (rows, w8), (strided, w4))
    ]
    out += [
        MapOp("add", [channels, wide]),
        MapOp("neg", [turned]),
        MapOp("exp", [line]),
        MatMulOp(line, p.constant(p.floats(8, 3))),
        ConcatOp([channels, channels, strided], 1),
        ReduceOp(turned, "max", [1]),
        SoftmaxOp(line, 1),
    ]
    return [*map(on, out), strided]


# --- quantised ---
@case
def quantize(p: Program) -> list[SSAValue]:
    x = p.input(p.floats(2, 3, 4) * 3)
    per_tensor, per_axis = (
        QuantAttr.get([0.05], [7]),
        QuantAttr.get([0.05, 0.1, 0.02], [0, 3, -4], 1),
    )
    unsigned = QuantAttr.get([0.03], [120])
    stored = [p.add(QuantizeOp(x, e)) for e in (per_tensor, per_axis)] + [
        p.add(QuantizeOp(x, unsigned, ui8))
    ]
    return [*stored, *(p.add(DequantizeOp(q)) for q in stored)]


@case
def dequantize_wide(p: Program) -> list[SSAValue]:
    q = p.input(
        p.rng.integers(-(2**20), 2**20, (3, 4)).astype(np.int32),
        QuantAttr.get([0.1, 0.2, 0.3, 0.4], [0] * 4, 1),
    )
    return [p.add(DequantizeOp(q))]


@case
def quantised_binary(p: Program) -> list[SSAValue]:
    encoding = QuantAttr.get([0.07], [-3])
    a, b = p.input(p.int8(2, 3, 4)), p.input(p.int8(3, 1))
    ma, mb, multiplier, shift = add_multipliers(0.05, 0.03, 0.07)
    y = p.add(
        QAddOp(
            a, b, encoding, za=1, ma=ma, zb=-2, mb=mb, multiplier=multiplier, shift=shift, lo=-50
        )
    )
    m, s = quantize_multiplier(0.02)
    return [y, p.add(QMulOp(y, b, encoding, za=-3, zb=-2, multiplier=m, shift=s))]


@case
def requantize(p: Program) -> list[SSAValue]:
    x = p.input(p.rng.integers(-(2**31), 2**31, (2, 3, 4)).astype(np.int32))
    encoding = QuantAttr.get([0.1], [12])
    out: list[SSAValue] = []
    for shape in ([1], [4], [3, 1]):
        m, s = (
            p.rng.integers(2**30, 2**31, shape).astype(np.int32),
            p.rng.integers(40, 62, shape).astype(np.int32),
        )
        out.append(p.add(RequantizeOp(x, p.constant(m), p.constant(s), encoding)))
    return out


@case
def lookup(p: Program) -> list[SSAValue]:
    q, u = p.input(p.int8(3, 4)), p.input(p.rng.integers(0, 256, (3, 4), np.uint8))
    return [p.add(LookupOp(v, p.constant(p.int8(256)))) for v in (q, u)]


# --- empty and degenerate ---
@case
def empty(p: Program) -> list[SSAValue]:
    x, y = p.input(p.floats(0, 3)), p.input(p.floats(2, 3))
    return [
        p.add(MapOp("relu", [x])),
        p.add(ConcatOp([x, y], 0)),
        p.add(ReduceOp(x, "sum", [0])),
        p.add(MatMulOp(x, p.input(p.floats(3, 2)))),
        p.add(MatMulOp(p.input(p.floats(2, 0)), p.input(p.floats(0, 2)))),
        p.add(SliceOp(y, [0, 0], [0, 3])),
        p.add(GatherOp(y, p.input(np.zeros((0,), np.int64)), 0)),
    ]
