"""Every scalar function against dialects/scalar.py, over ordinary and edge values."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, f64, i1, i8, i16, i32, i64
from xdsl.ir import Attribute

from support.cpu_nests import elementwise, run_both, ulps
from tilewright.backends.cpu.scalar_emit import EMITTERS
from tilewright.dialects.constants import Array
from tilewright.dialects.scalar import SCALAR_FUNCTIONS
from tilewright.dialects.types import Param, numpy_dtype, ui8, ui16, ui32, ui64

FLOATS = [f16, bf16, f32, f64]
INTEGERS = [i8, i16, i32, i64, ui8, ui16, ui32, ui64]

EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.1,
    np.inf,
    -np.inf,
    np.nan,
    1e-45,
    -1e-45,
    1e-40,
    1.2e-38,
    3.4028235e38,
    -3.4028235e38,
    88.72,
    88.73,
    89.5,
    -87.4,
    -103.9,
    -104.2,
    127.5,
    -128.5,
    255.0,
    1e10,
    -1e10,
    2147483648.0,
    -2147483648.0,
    2147483520.0,
    9.2233715e18,
    1e19,
    8388607.5,
    8388609.0,
    0.99999994,
    1.0000001,
    20.0,
    -20.0,
    3.84,
    9.1,
]

# Units in the last place allowed; what is not named is exact.
ULPS = {
    "exp": 2,
    "log": 2,
    "tanh": 4,
    "erf": 4,
    "sigmoid": 4,
    "softplus": 4,
    "silu": 4,
    "mish": 16,
    "elu": 3,
    "celu": 3,
    "selu": 4,
    "sin": 2,
    "cos": 2,
    "tan": 4,
    "asin": 4,
    "acos": 4,
    "atan": 4,
    "sinh": 4,
    "cosh": 4,
    "asinh": 4,
    "acosh": 4,
    "atanh": 4,
    "pow": 2,
    "gelu": 4,
    "rsqrt": 1,
}


def floats(dtype: np.dtype[Any], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    values = np.concatenate(
        [
            EDGES,
            rng.standard_normal(300) * 3,
            rng.uniform(-100, 100, 300),
            rng.standard_normal(50) * 1e-3,
        ]
    )
    with np.errstate(over="ignore"):
        return values.astype(np.float32 if dtype.itemsize < 8 else dtype).astype(dtype)


def integers(dtype: np.dtype[Any], seed: int = 0) -> Array:
    info = np.iinfo(dtype)
    edges = [v for v in (0, 1, 2, 3, 7, -1, -2, -3, -128, 127, 255) if info.min <= v <= info.max]
    edges += [info.min, info.max, info.min + 1, info.max - 1]
    drawn = np.random.default_rng(seed).integers(info.min, info.max, 200, dtype, endpoint=True)
    return np.concatenate([np.array(edges, dtype), drawn])


def samples(element: Attribute, seed: int = 0) -> Array:
    dtype = numpy_dtype(element)
    if dtype == np.bool_:
        return np.random.default_rng(seed).integers(0, 2, 300).astype(bool)
    return integers(dtype, seed) if dtype.kind in "iu" else floats(dtype, seed)


def pairs(a: Array, b: Array) -> tuple[Array, Array]:
    """All pairs of the edge values, then random ones."""
    k = 40
    left, right = zip(*itertools.product(a[:k], b[:k]), strict=True)
    n = min(len(a), len(b))
    return np.array([*left, *a[:n]], a.dtype), np.array([*right, *b[:n]], b.dtype)


def result_type(fn: str, *elements: Attribute) -> Attribute:
    result = SCALAR_FUNCTIONS[fn].result_type(list(elements))
    assert result is not None
    return result


def compare(
    fn: str,
    types: Sequence[Attribute],
    result: Attribute,
    inputs: Sequence[Array],
    params: Mapping[str, Param] | None = None,
    allowed: float = 0.0,
) -> None:
    func = elementwise(fn, types, result, len(inputs[0]), params)
    (got,), (want,) = run_both(func, inputs)
    if want.dtype.kind in "iub":
        wrong = np.flatnonzero(got != want)
        assert not len(wrong), (fn, [x[wrong[:5]] for x in inputs], got[wrong[:5]], want[wrong[:5]])
        return
    if want.dtype == ml_dtypes.bfloat16:
        got, want = got.astype(np.float32), want.astype(np.float32)
        unit = 2.0**16
    else:
        unit = 1.0
    if want.dtype == np.float16:
        allowed = min(allowed, 1)
    if unit > 1:
        allowed = min(allowed, 1) * unit
    nan = np.isnan(want)
    assert np.array_equal(nan, np.isnan(got)), (fn, [x[nan != np.isnan(got)][:5] for x in inputs])
    off = ulps(got, want)
    if off > allowed:
        worst = [i for i in range(len(got)) if ulps(got[i : i + 1], want[i : i + 1]) > allowed][:5]
        pytest.fail(
            f"{fn} {types[0]}: {off} ulp at {[x[worst] for x in inputs]}: "
            f"{got[worst]} for {want[worst]}"
        )


def test_every_function_has_an_emitter() -> None:
    assert set(EMITTERS) == set(SCALAR_FUNCTIONS)


UNARY_FLOAT = [
    n
    for n, fn in SCALAR_FUNCTIONS.items()
    if fn.arity == 1
    and fn.result != "explicit"
    and not fn.integer_only
    and n not in ("widen", "not")
]


@pytest.mark.parametrize("element", FLOATS, ids=str)
@pytest.mark.parametrize("fn", UNARY_FLOAT)
def test_unary_on_floats(fn: str, element: Attribute) -> None:
    x = samples(element)
    if fn in ("sin", "cos", "tan"):
        x = x[np.abs(x.astype(np.float64)) < 1e4]
    params: Mapping[str, Param] | None = {
        "clip": {"min": -1.5, "max": 2.0},
        "isinf": {"negative": 0},
    }.get(fn)
    result = result_type(fn, element)
    if fn in ("gelu", "mish"):  # differences of nearly equal numbers: absolute
        func = elementwise(fn, [element], element, len(x))
        (got,), (want,) = run_both(func, [x])
        a, b = got.astype(np.float64), want.astype(np.float64)
        near = np.isclose(
            a, b, rtol=2e-2 if element in (bf16, f16) else 2e-6, atol=1e-6, equal_nan=True
        )
        assert near.all(), (x[~near], got[~near], want[~near])
        return
    compare(fn, [element], result, [x], params, ULPS.get(fn, 0))


def test_gelu_by_tanh() -> None:
    x = floats(np.dtype(np.float32))
    x = x[np.abs(x) < 1e4]
    (got,), (want,) = run_both(
        elementwise("gelu", [f32], f32, len(x), {"approximate": "tanh"}), [x]
    )
    assert np.allclose(got, want, rtol=2e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("element", INTEGERS, ids=str)
@pytest.mark.parametrize("fn", ["neg", "abs", "sign", "relu", "clip", "identity"])
def test_unary_on_integers(fn: str, element: Attribute) -> None:
    compare(
        fn, [element], element, [samples(element)], {"min": 2, "max": 9} if fn == "clip" else None
    )


BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "minimum",
    "maximum",
    "equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
]


@pytest.mark.parametrize("element", [*FLOATS, *INTEGERS], ids=str)
@pytest.mark.parametrize("fn", BINARY)
def test_binary(fn: str, element: Attribute) -> None:
    a, b = pairs(samples(element, 1), samples(element, 2))
    params = {"fmod": 1} if fn == "mod" and element in FLOATS else None
    result = result_type(fn, element, element)
    compare(fn, [element, element], result, [a, b], params)


@pytest.mark.parametrize("element", INTEGERS, ids=str)
@pytest.mark.parametrize("fn", ["bit_and", "bit_or", "bit_xor", "shift_left", "shift_right"])
def test_bits(fn: str, element: Attribute) -> None:
    a, b = pairs(samples(element, 1), samples(element, 2))
    if fn.startswith("shift"):  # amounts around the width too
        b = np.resize(np.arange(-2 if element in INTEGERS[:4] else 0, 70), b.shape).astype(b.dtype)
    compare(fn, [element, element], element, [a, b])


@pytest.mark.parametrize(
    ("source", "target"),
    [(f32, i32), (ui32, f32), (f64, i64), (i64, f64), (f16, i16), (ui16, f16), (bf16, ui16),
     (i16, bf16), (i8, ui8), (i1, ui8)],
    ids=str,
)  # fmt: skip
def test_bitcast(source: Attribute, target: Attribute) -> None:
    x = samples(source, 1)
    func = elementwise("bitcast", [source], target, len(x))
    (got,), (want,) = run_both(func, [x])
    assert got.tobytes() == want.tobytes() == x.tobytes()


@pytest.mark.parametrize("element", [i1, i32, f32], ids=str)
@pytest.mark.parametrize("fn", ["and", "or", "xor", "equal"])
def test_logic(fn: str, element: Attribute) -> None:
    a, b = pairs(samples(element, 1), samples(element, 2))
    compare(fn, [element, element], i1, [a, b])


@pytest.mark.parametrize("fn", ["add", "mul", "maximum", "minimum", "less", "greater_equal"])
def test_arithmetic_on_bools(fn: str) -> None:
    a, b = pairs(samples(i1, 1), samples(i1, 2))
    compare(fn, [i1, i1], i1, [a, b])


@pytest.mark.parametrize("element", INTEGERS, ids=str)
def test_remainder_as_in_c(element: Attribute) -> None:
    a, b = pairs(samples(element, 1), samples(element, 2))
    compare("mod", [element, element], element, [a, b], {"fmod": 1})


def test_floored_remainder_of_floats() -> None:
    a, b = (
        x[np.isfinite(x)]
        for x in (floats(np.dtype(np.float32), 1), floats(np.dtype(np.float32), 2))
    )
    a, b = pairs(a, b)
    compare("mod", [f32, f32], f32, [a, b])


def test_power() -> None:
    a, b = pairs(floats(np.dtype(np.float32), 1), floats(np.dtype(np.float32), 2))
    compare("pow", [f32, f32], f32, [a, b], None, 2)
    base, exponent = np.meshgrid(np.arange(-9, 10, dtype=np.int32), np.arange(0, 7, dtype=np.int32))
    compare("pow", [i32, i32], i32, [base.ravel(), exponent.ravel()])


@pytest.mark.parametrize("element", [i1, i8, ui8, i32, i64, f16, bf16, f32, f64], ids=str)
def test_select(element: Attribute) -> None:
    n = len(samples(element, 1))
    condition = np.random.default_rng(0).integers(0, 2, n).astype(bool)
    compare(
        "select",
        [i1, element, element],
        element,
        [condition, samples(element, 1), samples(element, 2)],
    )


@pytest.mark.parametrize("element", [i1, i32], ids=str)
def test_not(element: Attribute) -> None:
    compare("not", [element], i1, [samples(element)])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 100])
@pytest.mark.parametrize("element", [i8, f16, f32, i64], ids=str)
def test_every_tail(size: int, element: Attribute) -> None:
    a, b = samples(element, 1)[-size:], samples(element, 2)[-size:]
    compare("add", [element, element], element, [a, b])
