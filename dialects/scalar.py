# The table below is lambdas over numpy arrays of any dtype, which strict typing cannot follow:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false
"""Scalar functions: what `graph.map` applies to tensors and `loop.apply` to elements.

Each function is defined here once: name, arity, parameters with defaults, result type, and its
meaning as a vectorised numpy function.  The CPU end has an LLVM emitter per name, the NPU a
matching instruction or a table; all are tested against this table.

Floating-point functions are computed in the type of their operands (half types in f32, rounded
once at the end).  Integer arithmetic wraps, as in ONNX and LLVM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import i1, i32
from xdsl.ir import Attribute

from . import fixed_point
from .types import Param, is_float, numpy_dtype

NumpyFn = Callable[..., Any]


@dataclass(frozen=True)
class ScalarFn:
    """One scalar function.

    `evaluate(*arrays, **params)` is its meaning; `result` says how the result type follows from
    the operands: "same" (type of the last operand, so that `select` works), "bool", "i32", or
    "explicit" (any type, given by the operation that uses it).  `bits` functions work on the
    stored bits: half types are not widened for them.
    """

    name: str
    arity: int
    evaluate: NumpyFn
    params: Mapping[str, Param] = field(default_factory=dict[str, Param])
    result: str = "same"
    float_only: bool = False
    integer_only: bool = False
    commutative: bool = False
    bits: bool = False

    def result_type(self, operand_types: list[Attribute]) -> Attribute | None:
        """The result's element type; None when it must be given explicitly."""
        match self.result:
            case "same":
                return operand_types[-1]
            case "bool":
                return i1
            case "i32":
                return i32
            case _:
                return None


SCALAR_FUNCTIONS: dict[str, ScalarFn] = {}


def _define(
    name: str, arity: int, evaluate: NumpyFn, params: dict[str, Param] | None = None, **kw: Any
) -> None:
    SCALAR_FUNCTIONS[name] = ScalarFn(name, arity, evaluate, params or {}, **kw)


def evaluate(fn: str, args: list[Any], params: Mapping[str, Param], result: Attribute) -> Any:
    """Apply scalar function `fn` elementwise (numpy broadcasting), with `result` element type.

    KeyError if `fn` is unknown. Half-precision operands are widened to f32 and rounded once.
    """
    function = SCALAR_FUNCTIONS[fn]
    dtype = numpy_dtype(result)
    wide = [
        a.astype(np.float32)
        if a.dtype.itemsize == 2 and a.dtype.kind in "fV" and not function.bits
        else a
        for a in map(np.asarray, args)
    ]
    if fn == "bitcast":
        return wide[0].astype(np.uint8).astype(dtype) if dtype == np.bool_ else wide[0].view(dtype)
    with np.errstate(all="ignore"):
        out = function.evaluate(*wide, **{**function.params, **params})
        return np.asarray(out).astype(dtype, copy=False)


def erf(x: Any) -> Any:
    """Error function, exact to double rounding for f32 and f64 inputs."""
    flat = np.asarray(x, np.float64)
    return np.vectorize(math.erf, otypes=[np.float64])(flat).astype(np.asarray(x).dtype, copy=False)


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype, copy=False)


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _gelu(x: Any, approximate: str) -> Any:
    one = x.dtype.type
    if approximate == "tanh":
        inner = one(math.sqrt(2 / math.pi)) * (x + one(0.044715) * x * x * x)
        return one(0.5) * x * (one(1) + np.tanh(inner))
    return one(0.5) * x * (one(1) + erf(x * one(math.sqrt(0.5))))


def _divide(a: Any, b: Any) -> Any:
    if a.dtype.kind in "iu":  # ONNX and C: truncate towards zero
        safe = np.where(b == 0, 1, b)
        quotient = a // safe
        inexact = (quotient * safe != a) & ((a < 0) != (safe < 0))
        return np.where(inexact, quotient + quotient.dtype.type(1), quotient)
    return a / b


def _mod(a: Any, b: Any, fmod: int) -> Any:
    if a.dtype.kind in "iu":
        b = np.where(b == 0, 1, b)
    return np.fmod(a, b) if fmod else np.mod(a, b)


def _pow(a: Any, b: Any) -> Any:
    return (
        np.power(a.astype(np.float64), b).astype(a.dtype)
        if a.dtype.kind in "iu"
        else np.power(a, b.astype(a.dtype))
    )


def _shift(a: Any, b: Any, *, left: bool) -> Any:
    """Shift by `b` bits, arithmetic to the right; by less than 0 or all bits, what is left."""
    a, b = np.broadcast_arrays(a, b)
    width = a.dtype.itemsize * 8
    inside = (b >= 0) & (b < width)
    by = np.where(inside, b, 0).astype(a.dtype)
    if left:
        return np.where(inside, np.left_shift(a, by), 0)
    return np.where(inside, np.right_shift(a, by), np.where(a < 0, -1, 0).astype(a.dtype))


def _c(x: Any, value: Param) -> Any:
    """A parameter as a scalar of x's type, so that f32 stays f32."""
    return np.asarray(value, x.dtype)


# --- arithmetic (any numeric type) ---
_define("add", 2, lambda a, b: a + b, commutative=True)
_define("sub", 2, lambda a, b: a - b)
_define("mul", 2, lambda a, b: a * b, commutative=True)
_define("div", 2, _divide)
_define("mod", 2, _mod, {"fmod": 0})
_define("pow", 2, _pow)
_define("minimum", 2, np.minimum, commutative=True)
_define("maximum", 2, np.maximum, commutative=True)
_define("identity", 1, lambda x: x)
_define("neg", 1, np.negative)
_define("abs", 1, np.abs)
_define("sign", 1, np.sign)
_define("cast", 1, lambda x: x, result="explicit")
_define(
    "clip",
    1,
    lambda x, min, max: np.clip(x, _c(x, min), _c(x, max)),
    {"min": -math.inf, "max": math.inf},
)
_define("relu", 1, lambda x: np.maximum(x, _c(x, 0)))

# --- comparison and logic ---
_define("equal", 2, lambda a, b: a == b, result="bool", commutative=True)
_define("less", 2, lambda a, b: a < b, result="bool")
_define("less_equal", 2, lambda a, b: a <= b, result="bool")
_define("greater", 2, lambda a, b: a > b, result="bool")
_define("greater_equal", 2, lambda a, b: a >= b, result="bool")
_define("and", 2, np.logical_and, result="bool", commutative=True)
_define("or", 2, np.logical_or, result="bool", commutative=True)
_define("xor", 2, np.logical_xor, result="bool", commutative=True)
_define("not", 1, np.logical_not, result="bool")
_define("isnan", 1, np.isnan, result="bool", float_only=True)
_define(
    "isinf",
    1,
    lambda x, negative, positive: (
        (np.isposinf(x) & bool(positive)) | (np.isneginf(x) & bool(negative))
    ),
    {"negative": 1, "positive": 1},
    result="bool",
    float_only=True,
)
_define("select", 3, lambda c, a, b: np.where(c, a, b))

# --- bits of integers ---
for _name, _fn in {
    "bit_and": np.bitwise_and, "bit_or": np.bitwise_or, "bit_xor": np.bitwise_xor,
}.items():  # fmt: skip
    _define(_name, 2, _fn, integer_only=True, commutative=True)
_define("shift_left", 2, lambda a, b: _shift(a, b, left=True), integer_only=True)
_define("shift_right", 2, lambda a, b: _shift(a, b, left=False), integer_only=True)
_define("bitcast", 1, lambda x: x, result="explicit", bits=True)  # see `evaluate`

# --- floating-point functions ---
for _name, _fn in {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "tanh": np.tanh, "erf": erf,
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "sigmoid": _sigmoid,
    "softplus": _softplus, "reciprocal": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(x),
    "softsign": lambda x: x / (1 + np.abs(x)), "silu": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "hard_swish": lambda x: x * np.clip(x * _c(x, 1 / 6) + _c(x, 0.5), 0, 1),
}.items():  # fmt: skip
    _define(_name, 1, _fn, float_only=True)
_define("gelu", 1, _gelu, {"approximate": "none"}, float_only=True)
_define(
    "leaky_relu",
    1,
    lambda x, alpha: np.where(x >= 0, x, x * _c(x, alpha)),
    {"alpha": 0.01},
    float_only=True,
)
_define(
    "elu",
    1,
    lambda x, alpha: np.where(x > 0, x, _c(x, alpha) * np.expm1(np.minimum(x, 0))),
    {"alpha": 1.0},
    float_only=True,
)
_define(
    "celu",
    1,
    lambda x, alpha: np.where(x > 0, x, _c(x, alpha) * np.expm1(np.minimum(x, 0) / _c(x, alpha))),
    {"alpha": 1.0},
    float_only=True,
)
_define(
    "selu",
    1,
    lambda x, alpha, gamma: (
        _c(x, gamma) * np.where(x > 0, x, _c(x, alpha) * np.expm1(np.minimum(x, 0)))
    ),
    {"alpha": 1.6732631921768188, "gamma": 1.0507010221481323},
    float_only=True,
)
_define(
    "hard_sigmoid",
    1,
    lambda x, alpha, beta: np.clip(x * _c(x, alpha) + _c(x, beta), 0, 1),
    {"alpha": 0.2, "beta": 0.5},
    float_only=True,
)
_define(
    "thresholded_relu",
    1,
    lambda x, alpha: np.where(x > _c(x, alpha), x, 0),
    {"alpha": 1.0},
    float_only=True,
)

# --- integers of quantised networks (definitions in fixed_point.py) ---
_define(
    "quantize",
    1,
    lambda x, scale, zp, lo, hi: np.clip(np.rint(x / _c(x, scale)) + zp, lo, hi),
    {"scale": 1.0, "zp": 0, "lo": -128, "hi": 127},
    result="explicit",
    float_only=True,
)
_define(
    "dequantize",
    1,
    lambda q, scale, zp: (q.astype(np.int64) - zp).astype(np.float32) * np.float32(scale),
    {"scale": 1.0, "zp": 0},
    result="explicit",
)
_define("widen", 1, lambda x, zp: x.astype(np.int32) - np.int32(zp), {"zp": 0}, result="i32")
_define(
    "requantize",
    3,
    lambda acc, m, s, zp, lo, hi: fixed_point.requantize(acc, m, s, zp, lo, hi),
    {"zp": 0, "lo": -128, "hi": 127},
    result="explicit",
)
_define(
    "qadd", 2,
    lambda a, b, za, ma, zb, mb, multiplier, shift, zp, lo, hi: fixed_point.requantize(
        (a.astype(np.int64) - za) * ma + (b.astype(np.int64) - zb) * mb, multiplier, shift, zp, lo,
        hi),
    {"za": 0, "ma": 1 << 20, "zb": 0, "mb": 1 << 20, "multiplier": 1 << 30, "shift": 50, "zp": 0,
     "lo": -128, "hi": 127},
    result="explicit",
)  # fmt: skip
_define(
    "qmul", 2,
    lambda a, b, za, zb, multiplier, shift, zp, lo, hi: fixed_point.requantize(
        (a.astype(np.int64) - za) * (b.astype(np.int64) - zb), multiplier, shift, zp, lo, hi),
    {"za": 0, "zb": 0, "multiplier": 1 << 30, "shift": 30, "zp": 0, "lo": -128, "hi": 127},
    result="explicit",
)  # fmt: skip

_define(
    "qreciprocal", 1, lambda x, bits: fixed_point.reciprocal(x, bits), {"bits": 30}, result="i32",
    integer_only=True,
)  # fmt: skip
_define(
    "qrsqrt", 2,
    lambda squares, total, count, epsilon, bits, extra: fixed_point.inverse_deviation(
        squares, total, count, epsilon, bits, extra),
    {"count": 1, "epsilon": 0, "bits": 30, "extra": 0},
    result="i32", integer_only=True,
)  # fmt: skip
_define(
    "qnorm", 5,
    lambda x, total, inverse, gain, offset, x_zp, count, bits, shift, zp, lo, hi:
        fixed_point.normalize(
            x, total, inverse, gain, offset, x_zp, count, bits, shift, zp, lo, hi),
    {"x_zp": 0, "count": 1, "bits": 30, "shift": 20, "zp": 0, "lo": -128, "hi": 127},
    result="explicit", integer_only=True,
)  # fmt: skip


def check_operands(
    fn: str, operand_types: list[Attribute], result: Attribute, params: Mapping[str, Param]
) -> str | None:
    """Why `fn` cannot be applied to these element types, or None if it can."""
    function = SCALAR_FUNCTIONS.get(fn)
    if function is None:
        return f"unknown scalar function {fn!r}"
    if len(operand_types) != function.arity:
        return f"{fn} takes {function.arity} operands, got {len(operand_types)}"
    if unknown := set(params) - set(function.params):
        return f"{fn} has no parameter {', '.join(sorted(unknown))}"
    if function.float_only and not all(is_float(t) for t in operand_types):
        return f"{fn} needs floating-point operands"
    if function.integer_only and any(is_float(t) for t in operand_types):
        return f"{fn} needs integer operands"
    if function.bits and numpy_dtype(operand_types[0]).itemsize != numpy_dtype(result).itemsize:
        return f"{fn} cannot turn {operand_types[0]} into {result}"
    expected = function.result_type(operand_types)
    if expected is not None and expected != result:
        return f"{fn} yields {expected}, not {result}"
    return None
