"""LLVM emission of the integer functions of quantised networks, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...dialects.fixed_point import NORM_BITS
from ...dialects.types import Param
from .llvm_text import F32, F64, I32, I64, Function, Type, Value, constant
from .scalars import EMITTERS, cast, clamp, emitter, extreme, number

__all__ = ["EMITTERS"]


def _integer(params: Mapping[str, Param], name: str) -> int:
    return int(number(params, name))


@emitter("quantize")
def _quantize(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    """clip(rint(x / scale) + zp, lo, hi) in x's type; the clamp comes before the conversion."""
    x = args[0]
    scaled = f.binary("fdiv", x, constant(number(params, "scale"), x.type))
    rounded = f.intrinsic("roundeven", scaled)
    if zero_point := number(params, "zp"):
        rounded = f.binary("fadd", rounded, constant(zero_point, x.type))
    return cast(f, clamp(f, rounded, number(params, "lo"), number(params, "hi")), result)


@emitter("dequantize")
def _dequantize(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    q, lanes = args[0], args[0].type.lanes
    zero_point = _integer(params, "zp")
    wide = (I32 if q.type.bits <= 16 and abs(zero_point) < 1 << 30 else I64).wide(lanes)
    whole = cast(f, q, wide)
    if zero_point:
        whole = f.binary("sub", whole, constant(zero_point, wide))
    real = cast(f, whole, F32.wide(lanes))
    return f.binary("fmul", real, constant(number(params, "scale"), real.type))


@emitter("widen")
def _widen(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    wide = cast(f, args[0], I32.wide(args[0].type.lanes))
    zero_point = _integer(params, "zp")
    return f.binary("sub", wide, constant(zero_point, wide.type)) if zero_point else wide


def _scale_down(
    f: Function, product: Value, shift: Value, params: Mapping[str, Param], result: Type
) -> Value:
    """clamp(((product + 2^(shift-1)) >> shift) + zp, lo, hi) of an i64 product."""
    type = product.type
    half = f.binary("shl", constant(1, type), f.binary("sub", shift, constant(1, type)))
    value = f.binary("ashr", f.binary("add", product, half), shift)
    if zero_point := _integer(params, "zp"):
        value = f.binary("add", value, constant(zero_point, type))
    return cast(f, clamp(f, value, _integer(params, "lo"), _integer(params, "hi")), result)


@emitter("requantize")
def _requantize(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    acc, multiplier, shift = (cast(f, a, I64.wide(a.type.lanes)) for a in args)
    return _scale_down(f, f.binary("mul", acc, multiplier), shift, params, result)


def _centred(f: Function, value: Value, zero_point: int, factor: int, wide: Type) -> Value:
    value = cast(f, value, wide)
    if zero_point:
        value = f.binary("sub", value, constant(zero_point, wide))
    return f.binary("mul", value, constant(factor, wide)) if factor != 1 else value


def _magnitude(type: Type, zero_point: int) -> int:
    """Bound of |q - zero_point|."""
    return (1 << type.bits) + abs(zero_point)


@emitter("qadd")
def _qadd(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    """The scaled sum is computed in 32 bits where the parameters prove that it fits."""
    (a, b), lanes = args, args[0].type.lanes
    za, zb, ma, mb = (_integer(params, p) for p in ("za", "zb", "ma", "mb"))
    bound = _magnitude(a.type, za) * abs(ma) + _magnitude(b.type, zb) * abs(mb)
    wide = (I32 if bound < 1 << 31 else I64).wide(lanes)
    total = f.binary("add", _centred(f, a, za, ma, wide), _centred(f, b, zb, mb, wide))
    return _scaled(f, total, params, result)


@emitter("qmul")
def _qmul(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    (a, b), lanes = args, args[0].type.lanes
    za, zb = _integer(params, "za"), _integer(params, "zb")
    wide = (I32 if _magnitude(a.type, za) * _magnitude(b.type, zb) < 1 << 31 else I64).wide(lanes)
    return _scaled(
        f, f.binary("mul", _centred(f, a, za, 1, wide), _centred(f, b, zb, 1, wide)), params, result
    )


def _scaled(f: Function, value: Value, params: Mapping[str, Param], result: Type) -> Value:
    wide = I64.wide(value.type.lanes)
    product = f.binary("mul", cast(f, value, wide), constant(_integer(params, "multiplier"), wide))
    return _scale_down(f, product, constant(_integer(params, "shift"), wide), params, result)


def _reciprocal(f: Function, x: Value, bits: int) -> Value:
    """(2^bits + x / 2) / x of i64 x, at least 1."""
    type = x.type
    x = extreme(f, x, constant(1, type), True)
    half = f.binary("ashr", x, constant(1, type))
    return f.binary("sdiv", f.binary("add", constant(1 << bits, type), half), x)


def _integer_sqrt(f: Function, x: Value) -> Value:
    """Floor of the square root of i64 x, 0 <= x < 2^62."""
    type = x.type
    wide = F64.wide(type.lanes)
    root = f.convert("fptosi", f.intrinsic("sqrt", f.convert("sitofp", x, wide)), type)
    one = constant(1, type)
    large = f.compare("icmp sgt", f.binary("mul", root, root), x)
    root = f.select(large, f.binary("sub", root, one), root)
    next = f.binary("add", root, one)
    small = f.compare("icmp sle", f.binary("mul", next, next), x)
    return f.select(small, next, root)


@emitter("qreciprocal")
def _qreciprocal(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    x = cast(f, args[0], I64.wide(args[0].type.lanes))
    return cast(f, _reciprocal(f, x, _integer(params, "bits")), result)


@emitter("qrsqrt")
def _qrsqrt(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    squares, total = (cast(f, a, I64.wide(a.type.lanes)) for a in args)
    type, count, extra = squares.type, _integer(params, "count"), _integer(params, "extra")
    spread = f.binary("mul", squares, constant(count, type))
    spread = f.binary("sub", spread, f.binary("mul", total, total))
    spread = extreme(f, spread, constant(max(count - 1, 1), type), True)
    spread = f.binary("add", spread, constant(_integer(params, "epsilon"), type))
    spread = extreme(f, spread, constant((1 << (62 - 2 * extra)) - 1, type), False)
    spread = f.binary("shl", spread, constant(2 * extra, type))
    root = _integer_sqrt(f, spread)
    return cast(f, _reciprocal(f, root, _integer(params, "bits") + extra), result)


@emitter("qnorm")
def _qnorm(f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type) -> Value:
    x, total, inverse, gain, offset = (cast(f, a, I64.wide(a.type.lanes)) for a in args)
    type, down = x.type, _integer(params, "bits") - NORM_BITS
    x = f.binary("sub", x, constant(_integer(params, "x_zp"), type))
    x = f.binary("mul", x, constant(_integer(params, "count"), type))
    normal = f.binary("mul", f.binary("sub", x, total), inverse)
    normal = f.binary("add", normal, constant(1 << (down - 1), type))
    normal = f.binary("ashr", normal, constant(down, type))
    scaled = f.binary("mul", normal, gain)
    scaled = f.binary("add", scaled, f.binary("shl", offset, constant(NORM_BITS, type)))
    return _scale_down(f, scaled, constant(_integer(params, "shift"), type), params, result)
