"""One small program for every operator and variant that the loop level lowers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from xdsl.ir import Operation, SSAValue

from support import loop_cases_sums as loop_cases_sums
from support.loop_case import CASES as CASES
from support.loop_case import case, family
from tilewright.dialects.fixed_point import (
    add_multipliers,
    exponential_table,
    norm_bits,
    quantize_multiplier,
)
from tilewright.dialects.graph import (
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
from tilewright.dialects.types import element_type, ui8

from .loop_programs import Program


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
