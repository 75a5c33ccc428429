"""LLVM emission of scalar functions: arithmetic, comparison, logic, casts and plain activations.

Each emitter is a function `(f, args, params, result) -> Value` in `EMITTERS`, for arguments of one
common number of lanes; `scalars_math` and `scalars_quant` add theirs, `scalar_emit` applies them.

As the reference says: integer arithmetic wraps; half types are widened to f32, computed, and
rounded once.  Nothing here is undefined for any input: conversions from floating-point check their
range (out of range gives the lowest integer, as x86 and so numpy do), division by zero divides by
one.  NaN propagates through `minimum`, `maximum`, `clip` and `relu`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...dialects.types import Param
from .llvm_text import F32, F64, I1, I16, I32, I64, Function, Type, Value, constant

Emitter = Callable[[Function, Sequence[Value], Mapping[str, Param], Type], Value]

EMITTERS: dict[str, Emitter] = {}


def emitter(*names: str) -> Callable[[Emitter], Emitter]:
    """Enter an emitter under the names of scalar functions."""

    def enter(function: Emitter) -> Emitter:
        for name in names:
            EMITTERS[name] = function
        return function

    return enter


def number(params: Mapping[str, Param], name: str) -> float | int:
    """A numeric parameter."""
    value = params[name]
    assert not isinstance(value, str)
    return value


# --- types ---


def widened(f: Function, value: Value) -> Value:
    """Half types as f32; anything else unchanged."""
    type = value.type
    if type.kind == "bf":
        bits = f.convert("zext", Value(value.name, Type("i", 16, type.lanes)), I32.wide(type.lanes))
        shifted = f.binary("shl", bits, constant(16, bits.type))
        return f.convert("bitcast", shifted, F32.wide(type.lanes))
    if type.kind == "f" and type.bits == 16:
        return f.convert("fpext", value, F32.wide(type.lanes))
    return value


def _narrow_bfloat(f: Function, value: Value) -> Value:
    """f32 to bfloat16, to nearest even; NaN stays a (quiet) NaN."""
    word = I32.wide(value.type.lanes)
    bits = f.convert("bitcast", value, word)
    odd = f.binary("and", f.binary("lshr", bits, constant(16, word)), constant(1, word))
    rounded = f.binary("add", bits, f.binary("add", odd, constant(0x7FFF, word)))
    nan = f.compare("fcmp uno", value, value)
    quiet = f.binary("or", bits, constant(0x400000, word))
    high = f.binary("lshr", f.select(nan, quiet, rounded), constant(16, word))
    return Value(
        f.convert("trunc", high, I16.wide(value.type.lanes)).name, Type("bf", 16, value.type.lanes)
    )


def truth(f: Function, value: Value) -> Value:
    """Whether each lane is not zero (NaN is true)."""
    if value.type.is_bool:
        return value
    return f.compare(
        "fcmp une" if value.type.is_float else "icmp ne", value, constant(0, value.type)
    )


def _float_to_int(f: Function, value: Value, to: Type) -> Value:
    """Truncate towards 0; out of range and NaN give the lowest 32- or 64-bit integer, wrapped."""
    wide = (I32 if to.bits < 32 or to == I32.wide(to.lanes) else I64).wide(to.lanes)
    limit = 2.0 ** (wide.bits - 1)
    if (
        to.kind == "u" and to.bits == 64
    ):  # the upper half of the range: convert x - 2^63, set the top bit
        high = f.compare("fcmp oge", value, constant(limit, value.type))
        low = f.select(high, f.binary("fsub", value, constant(limit, value.type)), value)
        whole = _float_to_int(f, low, wide)
        return Value(
            f.select(high, f.binary("xor", whole, constant(1 << 63, wide)), whole).name, to
        )
    above = f.compare("fcmp oge", value, constant(-limit, value.type))
    below = f.compare("fcmp olt", value, constant(limit, value.type))
    whole = f.convert("fptosi", value, wide)
    safe = f.select(f.binary("and", above, below), whole, constant(-(1 << (wide.bits - 1)), wide))
    return _resize(f, safe, to)


def _resize(f: Function, value: Value, to: Type) -> Value:
    """Integers of other widths: wrap, or extend by the source's signedness."""
    source = value.type
    if source.bits == to.bits:
        return Value(value.name, to)
    if source.bits > to.bits:
        return f.convert("trunc", value, to)
    return f.convert("zext" if source.kind == "u" or source.is_bool else "sext", value, to)


def cast(f: Function, value: Value, to: Type) -> Value:
    """Numpy's `astype`."""
    value = widened(f, value)
    source = value.type
    if source == to:
        return value
    if to.is_bool:
        return truth(f, value)
    if not to.is_float:
        return _float_to_int(f, value, to) if source.is_float else _resize(f, value, to)
    if to.kind == "bf":
        return _narrow_bfloat(f, cast(f, value, F32.wide(to.lanes)))
    if not source.is_float:
        if to.bits == 16:  # numpy rounds once; f64 holds every integer that half can tell apart
            return f.convert("fptrunc", cast(f, value, F64.wide(to.lanes)), to)
        return f.convert("uitofp" if source.kind == "u" or source.is_bool else "sitofp", value, to)
    return f.convert("fpext" if to.bits > source.bits else "fptrunc", value, to)


# --- arithmetic ---


def ordering(type: Type, predicate: str) -> str:
    """`fcmp`/`icmp` with "lt", "le", "gt" or "ge" for the type."""
    if type.is_float:
        return f"fcmp o{predicate}"
    return f"icmp {'u' if type.kind == 'u' or type.is_bool else 's'}{predicate}"


def _arithmetic(float_op: str, int_op: str, bool_op: str) -> Emitter:
    def emit_it(
        f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
    ) -> Value:
        type = args[0].type
        return f.binary(float_op if type.is_float else bool_op if type.is_bool else int_op, *args)

    return emit_it


EMITTERS["add"] = _arithmetic("fadd", "add", "or")
EMITTERS["sub"] = _arithmetic("fsub", "sub", "xor")
EMITTERS["mul"] = _arithmetic("fmul", "mul", "and")


def extreme(f: Function, a: Value, b: Value, largest: bool) -> Value:
    """Maximum or minimum; a NaN in either operand gives NaN."""
    predicate = ordering(a.type, "gt" if largest else "lt")
    picked = f.select(f.compare(predicate, a, b), a, b)
    if a.type.is_float:
        return f.select(f.compare("fcmp uno", a, a), a, picked)
    return picked


@emitter("maximum")
def _maximum(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return extreme(f, args[0], args[1], True)


@emitter("minimum")
def _minimum(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return extreme(f, args[0], args[1], False)


def clamp(f: Function, value: Value, low: float | int, high: float | int) -> Value:
    """Numpy's clip with constant bounds: NaN stays NaN; infinite bounds of integers do nothing."""
    type = value.type
    if not type.is_float:
        signed = type.kind == "i"
        least, most = (
            (-(1 << (type.bits - 1)), (1 << (type.bits - 1)) - 1)
            if signed
            else (0, (1 << type.bits) - 1)
        )
        low, high = int(max(low, least)), int(min(high, most))
        if low > least:
            value = extreme(f, value, constant(low, type), True)
        return extreme(f, value, constant(high, type), False) if high < most else value
    for bound, predicate in ((low, "fcmp olt"), (high, "fcmp ogt")):
        if abs(bound) != float("inf"):
            limit = constant(bound, type)
            value = f.select(f.compare(predicate, value, limit), limit, value)
    return value


@emitter("clip")
def _clip(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return clamp(f, args[0], number(params, "min"), number(params, "max"))


@emitter("relu")
def _relu(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return clamp(f, args[0], 0, float("inf"))


@emitter("identity", "cast")
def _identity(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return args[0]


@emitter("neg")
def _neg(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    type = args[0].type
    if type.is_float:
        return Value(f.op(f"fneg {args[0].typed}"), type)
    return f.binary("sub", constant(0, type), args[0])


def absolute(f: Function, value: Value) -> Value:
    """|value|; the lowest integer stays what it is."""
    type = value.type
    if type.is_float:
        return f.intrinsic("fabs", value)
    if type.kind == "u" or type.is_bool:
        return value
    negative = f.compare("icmp slt", value, constant(0, type))
    return f.select(negative, f.binary("sub", constant(0, type), value), value)


@emitter("abs")
def _abs(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return absolute(f, args[0])


@emitter("sign")
def _sign(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    x, type = args[0], args[0].type
    zero = constant(0, type)
    below = f.select(
        f.compare(ordering(type, "lt"), x, zero), constant(-1, type), x if type.is_float else zero
    )
    return f.select(f.compare(ordering(type, "gt"), x, zero), constant(1, type), below)


def _divisor(f: Function, b: Value) -> Value:
    return f.select(f.compare("icmp eq", b, constant(0, b.type)), constant(1, b.type), b)


def _int_division(f: Function, a: Value, b: Value, remainder: bool) -> Value:
    """C's division or remainder, with x / 0 = x and lowest / -1 = lowest."""
    b = _divisor(f, b)
    if b.type.kind == "u" or b.type.is_bool:
        return f.binary("urem" if remainder else "udiv", a, b)
    minus = f.compare("icmp eq", b, constant(-1, b.type))
    safe = f.select(minus, constant(1, b.type), b)
    if remainder:
        return f.select(minus, constant(0, b.type), f.binary("srem", a, safe))
    return f.select(minus, f.binary("sub", constant(0, a.type), a), f.binary("sdiv", a, safe))


@emitter("div")
def _div(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    a, b = args
    return f.binary("fdiv", a, b) if a.type.is_float else _int_division(f, a, b, False)


@emitter("mod")
def _mod(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    """C's remainder (`fmod`), or the one with the divisor's sign."""
    a, b = args
    type, zero = a.type, constant(0, a.type)
    rest = f.binary("frem", a, b) if type.is_float else _int_division(f, a, b, True)
    if number(params, "fmod") or type.kind == "u":
        return rest
    lower = ordering(type, "lt")
    differ = f.binary("xor", f.compare(lower, rest, zero), f.compare(lower, b, zero))
    if not type.is_float:
        wrong = f.binary("and", differ, f.compare("icmp ne", rest, zero))
        return f.select(wrong, f.binary("add", rest, _divisor(f, b)), rest)
    moved = f.select(
        f.binary("and", differ, f.compare("fcmp one", rest, zero)), f.binary("fadd", rest, b), rest
    )
    return f.select(f.compare("fcmp oeq", rest, zero), f.intrinsic("copysign", zero, b), moved)


# --- comparison and logic ---


def _comparison(predicate: str) -> Emitter:
    def emit_it(
        f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
    ) -> Value:
        type = args[0].type
        if predicate == "eq":
            return f.compare("fcmp oeq" if type.is_float else "icmp eq", *args)
        return f.compare(ordering(type, predicate), *args)

    return emit_it


for _name, _predicate in {
    "equal": "eq",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
}.items():
    EMITTERS[_name] = _comparison(_predicate)


def _logic(operator: str) -> Emitter:
    def emit_it(
        f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
    ) -> Value:
        return f.binary(operator, truth(f, args[0]), truth(f, args[1]))

    return emit_it


EMITTERS.update({name: _logic(name) for name in ("and", "or", "xor")})


@emitter("not")
def _not(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    value = truth(f, args[0])
    return f.binary("xor", value, constant(1, value.type))


@emitter("isnan")
def _isnan(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return f.compare("fcmp uno", args[0], args[0])


@emitter("isinf")
def _isinf(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    x = args[0]
    found = constant(0, I1.wide(x.type.lanes))
    for name, infinity in (("negative", float("-inf")), ("positive", float("inf"))):
        if number(params, name):
            found = f.binary("or", found, f.compare("fcmp oeq", x, constant(infinity, x.type)))
    return found


@emitter("select")
def _select(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    return f.select(truth(f, args[0]), args[1], args[2])
