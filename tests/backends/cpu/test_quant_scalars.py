"""Casts and the integer functions of quantised networks against the scalar semantics."""

import numpy as np
import pytest
from xdsl.dialects.builtin import f16, f32, f64, i1, i8, i16, i32, i64
from xdsl.ir import Attribute

from tilewright.dialects.types import numpy_dtype, ui8

from .test_scalars import FLOATS, INTEGERS, compare, integers, pairs, samples

ALL = [i1, *INTEGERS, *FLOATS]


@pytest.mark.parametrize("source", ALL, ids=str)
@pytest.mark.parametrize("target", ALL, ids=str)
def test_cast(source: Attribute, target: Attribute) -> None:
    x = samples(source)
    if source in FLOATS and target not in FLOATS and target != i1:
        info = np.iinfo(numpy_dtype(target))
        wide = x.astype(np.float64)
        # numpy leaves conversions out of range open, except that x86 gives the lowest i32 and i64
        if target not in (i32, i64):
            x = x[(wide > info.min - 1.0) & (wide < info.max + 1.0)]
    compare("cast", [source], target, [x])


@pytest.mark.parametrize("source", [f16, f32, f64], ids=str)
@pytest.mark.parametrize(
    ("target", "lo", "hi"), [(i8, -128, 127), (ui8, 0, 255), (i16, -32768, 32767), (i8, -127, 127)]
)
def test_quantize(source: Attribute, target: Attribute, lo: int, hi: int) -> None:
    x = samples(source)
    x = np.concatenate([x[~np.isnan(x)], (np.arange(-300, 300) * 0.05).astype(x.dtype)])
    for scale, zp in ((0.1, 0), (0.0235, 3), (1.0, -7), (3e-5, 0)):
        if lo <= zp:
            compare(
                "quantize", [source], target, [x], {"scale": scale, "zp": zp, "lo": lo, "hi": hi}
            )


@pytest.mark.parametrize("source", [i8, ui8, i16, i32], ids=str)
def test_dequantize_and_widen(source: Attribute) -> None:
    x = samples(source)
    compare("dequantize", [source], f32, [x], {"scale": 0.0371, "zp": 5})
    compare("widen", [source], i32, [x], {"zp": -5})


def test_rows() -> None:
    rng = np.random.default_rng(4)
    edges = integers(np.dtype(np.int32))
    for bits in (21, 47, 60):
        compare("qreciprocal", [i32], i32, [edges], {"bits": bits})
    a, b = pairs(edges, edges)
    for params in (
        {"count": 768, "epsilon": 590, "bits": 34, "extra": 14},
        {"count": 1 << 15, "epsilon": (1 << 46) - 1, "bits": 37, "extra": 7},
    ):
        compare("qrsqrt", [i32, i32], i32, [a, b], params)
    x = rng.integers(-128, 128, len(a)).astype(np.int8)
    factors = [rng.integers(-(1 << 30), 1 << 30, len(a), np.int32) for _ in range(2)]
    params = {"x_zp": -7, "count": 768, "bits": 34, "shift": 43, "zp": 3, "lo": -100, "hi": 90}
    small = a % 100_000
    compare("qnorm", [i8, *[i32] * 4], i8, [x, small, np.abs(b) % (1 << 20), *factors], params)
    compare("qnorm", [i8, *[i32] * 4], i8, [x, a, b, *factors], params)


def test_requantize() -> None:
    rng = np.random.default_rng(3)
    acc = np.concatenate([integers(np.dtype(np.int32)), rng.integers(-70000, 70000, 500, np.int32)])
    multiplier = rng.integers(1 << 30, (1 << 31) - 1, len(acc), np.int32)
    shift = rng.integers(1, 63, len(acc)).astype(np.int32)
    for params in ({"zp": 3}, {"zp": -128, "lo": -100, "hi": 50}):
        compare("requantize", [i32, i32, i32], i8, [acc, multiplier, shift], params)
    compare(
        "requantize",
        [i32, i32, i32],
        ui8,
        [acc, multiplier, shift],
        {"zp": 128, "lo": 0, "hi": 255},
    )


@pytest.mark.parametrize("element", [i8, ui8], ids=str)
def test_qadd_and_qmul(element: Attribute) -> None:
    a, b = pairs(integers(numpy_dtype(element), 1), integers(numpy_dtype(element), 2))
    lo, hi = (-128, 127) if element == i8 else (0, 255)
    scales = {"multiplier": 1518500250, "zp": 2, "lo": lo, "hi": hi}
    compare(
        "qadd",
        [element, element],
        element,
        [a, b],
        {"za": 3, "ma": 1 << 20, "zb": -4, "mb": 777777, "shift": 51, **scales},
    )
    compare(
        "qadd",
        [element, element],
        element,
        [a, b],
        {"ma": 1 << 29, "mb": 1 << 29, "shift": 60, **scales},
    )
    compare("qmul", [element, element], element, [a, b], {"za": 3, "zb": -4, "shift": 37, **scales})
