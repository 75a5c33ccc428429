"""LLVM emission of floating-point functions: polynomials for f32 vectors, libm for the rest.

exp, log, erf and what is made of them are branch-free f32 polynomials (S. Moshier's Cephes, expf
and logf; the rational erf of Eigen) within a few units in the last place; f64 goes to libm lane by
lane, as do the trigonometric and rarely used functions in f32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...dialects.types import Param
from .llvm_text import F64, I32, Function, Type, Value, constant
from .scalars import EMITTERS, Emitter, absolute, cast, clamp, emitter, extreme, number

__all__ = ["EMITTERS"]

_EXP = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_ERF_P = (
    2.2905065861350646e-4,
    3.4082910107109506e-3,
    5.0955695062380861e-2,
    1.8520832239976145e-1,
    1.128379143519084,
)
_ERF_Q = (
    -1.1791602954361697e-7,
    2.3547966471313185e-5,
    1.0179625278914885e-3,
    1.4070470171167667e-2,
    1.1098505178285362e-1,
    4.9746925110067538e-1,
    1.0,
)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_ROUND = 12582912.0
"""1.5 * 2^23: adding it to a small f32 leaves the nearest integer in the low bits."""


def _c(value: float, like: Value) -> Value:
    return constant(value, like.type)


def multiply_add(f: Function, a: Value, b: Value, c: Value) -> Value:
    """A * b + c, fused where the machine can."""
    return f.intrinsic("fmuladd", a, b, c)


def _polynomial(f: Function, x: Value, coefficients: Sequence[float]) -> Value:
    out = _c(coefficients[0], x)
    for coefficient in coefficients[1:]:
        out = multiply_add(f, out, x, _c(coefficient, x))
    return out


def libm(f: Function, name: str, args: Sequence[Value]) -> Value:
    """Call the C library's function in each lane."""
    type = args[0].type
    symbol = name + "f" if type.bits == 32 else name
    lanes = [f.call(symbol, [f.lane(a, k) for a in args], type.wide(1)) for k in range(type.lanes)]
    return f.gather(lanes)


def _libm(name: str) -> Emitter:
    def emit_it(
        f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
    ) -> Value:
        return libm(f, name, args)

    return emit_it


for _name in (
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "asinh",
    "acosh",
    "atanh",
):
    EMITTERS[_name] = _libm(_name)


@emitter("pow")
def _pow(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    """Integers by way of f64, as the reference; constant exponents 1, 2 and 0.5 exactly."""
    a, b = args[0], cast(f, args[1], args[0].type)
    if b.name == constant(2, a.type).name:
        return f.binary("fmul" if a.type.is_float else "mul", a, a)
    if a.type.is_float:
        if b.name == constant(1, a.type).name:
            return a
        return libm(f, "pow", [a, b])
    wide = F64.wide(a.type.lanes)
    return cast(f, libm(f, "pow", [cast(f, a, wide), cast(f, args[1], wide)]), a.type)


# --- exponentials ---


def _power_of_two(f: Function, n: Value, like: Type) -> Value:
    """2^n as f32 for n in -126..127."""
    bits = f.binary("shl", f.binary("add", n, constant(127, n.type)), constant(23, n.type))
    return f.convert("bitcast", bits, like)


def _reduced(f: Function, x: Value) -> tuple[Value, Value, Value]:
    """(n as f32, n as i32, r) with x = n ln 2 + r, |r| <= ln(2) / 2; NaN stays in r."""
    shifted = multiply_add(f, x, _c(1.4426950408889634, x), _c(_ROUND, x))
    n = f.binary("fsub", shifted, _c(_ROUND, x))
    word = I32.wide(x.type.lanes)
    whole = f.binary("sub", f.convert("bitcast", shifted, word), constant(0x4B400000, word))
    r = multiply_add(f, n, _c(-_LN2_HIGH, x), x)
    return n, whole, multiply_add(f, n, _c(-_LN2_LOW, x), r)


def _exp_tail(f: Function, r: Value) -> Value:
    """e^r - 1 for small r."""
    square = f.binary("fmul", r, r)
    return multiply_add(f, _polynomial(f, r, _EXP), square, r)


def exp(f: Function, x: Value) -> Value:
    """e^x; overflows to infinity, underflows through the denormals to 0."""
    if x.type.bits == 64:
        return libm(f, "exp", [x])
    _, n, r = _reduced(f, clamp(f, x, -104.5, 89.0))
    half = f.binary("ashr", n, constant(1, n.type))
    value = f.binary("fadd", _exp_tail(f, r), _c(1.0, x))
    value = f.binary("fmul", value, _power_of_two(f, half, x.type))
    return f.binary("fmul", value, _power_of_two(f, f.binary("sub", n, half), x.type))


def expm1(f: Function, x: Value) -> Value:
    """e^x - 1 without cancellation, for x <= 88."""
    if x.type.bits == 64:
        return libm(f, "expm1", [x])
    _, n, r = _reduced(f, clamp(f, x, -30.0, 88.0))
    scale = _power_of_two(f, n, x.type)
    return multiply_add(f, scale, _exp_tail(f, r), f.binary("fsub", scale, _c(1.0, x)))


def log(f: Function, x: Value) -> Value:
    """Natural logarithm: log 0 = -inf, of negatives NaN; denormals are exact inputs."""
    if x.type.bits == 64:
        return libm(f, "log", [x])
    type, word = x.type, I32.wide(x.type.lanes)
    tiny = f.compare("fcmp olt", x, _c(1.1754944e-38, x))
    scaled = f.select(tiny, f.binary("fmul", x, _c(2.0**23, x)), x)
    bits = f.convert("bitcast", scaled, word)
    # mantissa in [sqrt(1/2), sqrt(2)): move the exponent's boundary by subtracting sqrt(1/2)'s bits
    moved = f.binary("sub", bits, constant(0x3F3504F3, word))
    exponent = f.convert("sitofp", f.binary("ashr", moved, constant(23, word)), type)
    exponent = f.binary("fadd", exponent, f.select(tiny, _c(-23.0, x), _c(0.0, x)))
    mantissa = f.binary(
        "add", f.binary("and", moved, constant(0x7FFFFF, word)), constant(0x3F3504F3, word)
    )
    r = f.binary("fsub", f.convert("bitcast", mantissa, type), _c(1.0, x))
    square = f.binary("fmul", r, r)
    value = f.binary("fmul", f.binary("fmul", _polynomial(f, r, _LOG), r), square)
    value = multiply_add(f, exponent, _c(_LN2_LOW, x), value)
    value = f.binary("fadd", r, multiply_add(f, square, _c(-0.5, x), value))
    value = multiply_add(f, exponent, _c(_LN2_HIGH, x), value)
    infinite = f.compare("fcmp ueq", x, _c(math.inf, x))  # or NaN
    value = f.select(infinite, x, value)
    value = f.select(f.compare("fcmp olt", x, _c(0.0, x)), _c(math.nan, x), value)
    return f.select(f.compare("fcmp oeq", x, _c(0.0, x)), _c(-math.inf, x), value)


def tanh(f: Function, x: Value) -> Value:
    """T / (t + 2) with t = e^(2|x|) - 1, which loses nothing near 0."""
    if x.type.bits == 64:
        return libm(f, "tanh", [x])
    magnitude = clamp(f, absolute(f, x), -1.0, 20.0)
    t = expm1(f, f.binary("fadd", magnitude, magnitude))
    return f.intrinsic("copysign", f.binary("fdiv", t, f.binary("fadd", t, _c(2.0, x))), x)


def erf(f: Function, x: Value) -> Value:
    """Rational approximation, odd in x."""
    if x.type.bits == 64:
        return libm(f, "erf", [x])
    x = clamp(f, x, -3.832506856900711, 3.832506856900711)
    square = f.binary("fmul", x, x)
    top = f.binary("fmul", x, _polynomial(f, square, _ERF_P))
    return f.binary("fdiv", top, _polynomial(f, square, _ERF_Q))


def sigmoid(f: Function, x: Value) -> Value:
    """1 / (1 + e^-x), or e^x / (1 + e^x) for negative x, so that nothing overflows."""
    e = exp(f, Value(f.op(f"fneg {absolute(f, x).typed}"), x.type))
    top = f.select(f.compare("fcmp oge", x, _c(0.0, x)), _c(1.0, x), e)
    return f.binary("fdiv", top, f.binary("fadd", _c(1.0, x), e))


def softplus(f: Function, x: Value) -> Value:
    """max(x, 0) + log(1 + e^-|x|); log(1 + e) corrected by what rounding 1 + e loses."""
    e = exp(f, Value(f.op(f"fneg {absolute(f, x).typed}"), x.type))
    if x.type.bits == 64:
        rest = libm(f, "log1p", [e])
    else:
        sum = f.binary("fadd", e, _c(1.0, x))
        lost = f.binary("fsub", e, f.binary("fsub", sum, _c(1.0, x)))
        rest = f.binary("fadd", log(f, sum), f.binary("fdiv", lost, sum))
    return f.binary("fadd", extreme(f, x, _c(0.0, x), True), rest)


def _unary(function: str) -> Emitter:
    def emit_it(
        f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
    ) -> Value:
        return _UNARY[function](f, args[0])

    return emit_it


_UNARY = {
    "exp": exp,
    "log": log,
    "tanh": tanh,
    "erf": erf,
    "sigmoid": sigmoid,
    "softplus": softplus,
}
EMITTERS.update({name: _unary(name) for name in _UNARY})


def _rounding(intrinsic: str) -> Emitter:
    def emit_it(
        f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
    ) -> Value:
        return f.intrinsic(intrinsic, args[0])

    return emit_it


EMITTERS.update(
    {
        "floor": _rounding("floor"),
        "ceil": _rounding("ceil"),
        "round": _rounding("roundeven"),
        "sqrt": _rounding("sqrt"),
    }
)


# --- activations ---


@emitter("reciprocal")
def _reciprocal(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return f.binary("fdiv", _c(1.0, args[0]), args[0])


@emitter("rsqrt")
def _rsqrt(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return f.binary("fdiv", _c(1.0, args[0]), f.intrinsic("sqrt", args[0]))


@emitter("softsign")
def _softsign(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return f.binary("fdiv", args[0], f.binary("fadd", _c(1.0, args[0]), absolute(f, args[0])))


@emitter("silu")
def _silu(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return f.binary("fmul", args[0], sigmoid(f, args[0]))


@emitter("mish")
def _mish(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return f.binary("fmul", args[0], tanh(f, softplus(f, args[0])))


@emitter("gelu")
def _gelu(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    x = args[0]
    half = f.binary("fmul", x, _c(0.5, x))
    if params["approximate"] == "tanh":
        cube = f.binary("fmul", f.binary("fmul", f.binary("fmul", _c(0.044715, x), x), x), x)
        inner = f.binary("fmul", _c(math.sqrt(2 / math.pi), x), f.binary("fadd", x, cube))
        bent = tanh(f, inner)
    else:
        bent = erf(f, f.binary("fmul", x, _c(math.sqrt(0.5), x)))
    return f.binary("fmul", half, f.binary("fadd", _c(1.0, x), bent))


def _unit_ramp(f: Function, x: Value, alpha: float, beta: float) -> Value:
    return clamp(f, f.binary("fadd", f.binary("fmul", x, _c(alpha, x)), _c(beta, x)), 0.0, 1.0)


@emitter("hard_sigmoid")
def _hard_sigmoid(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return _unit_ramp(f, args[0], number(params, "alpha"), number(params, "beta"))


@emitter("hard_swish")
def _hard_swish(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return f.binary("fmul", args[0], _unit_ramp(f, args[0], 1 / 6, 0.5))


@emitter("leaky_relu")
def _leaky_relu(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    x = args[0]
    scaled = f.binary("fmul", x, _c(number(params, "alpha"), x))
    return f.select(f.compare("fcmp oge", x, _c(0.0, x)), x, scaled)


@emitter("elu", "selu")
def _elu(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    """where(x > 0, x, alpha (e^x - 1)); selu multiplies by gamma."""
    return _elu_family(f, args[0], params, divided=False)


@emitter("celu")
def _celu(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return _elu_family(f, args[0], params, divided=True)


def _elu_family(f: Function, x: Value, params: Mapping[str, Param], divided: bool) -> Value:
    alpha = _c(number(params, "alpha"), x)
    inner = clamp(f, x, -math.inf, 0.0)
    negative = f.binary(
        "fmul", alpha, expm1(f, f.binary("fdiv", inner, alpha) if divided else inner)
    )
    out = f.select(f.compare("fcmp ogt", x, _c(0.0, x)), x, negative)
    return f.binary("fmul", _c(number(params, "gamma"), x), out) if "gamma" in params else out


@emitter("thresholded_relu")
def _thresholded_relu(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    x = args[0]
    return f.select(f.compare("fcmp ogt", x, _c(number(params, "alpha"), x)), x, _c(0.0, x))
