"""LLVM emission of bit operations on integers, and of reading bits as another type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...dialects.types import Param
from .llvm_text import Function, Type, Value, constant
from .scalars import EMITTERS, Emitter, cast, emitter

__all__ = ["EMITTERS"]


def _bitwise(operator: str) -> Emitter:
    def emit_it(
        f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
    ) -> Value:
        return f.binary(operator, *args)

    return emit_it


EMITTERS.update({f"bit_{name}": _bitwise(name) for name in ("and", "or", "xor")})


def _shift(f: Function, args: Sequence[Value], *, left: bool) -> Value:
    """A shift that is defined for every amount: LLVM's is poison beyond the width."""
    a, b = args
    type = a.type
    inside = f.compare("icmp ult", b, constant(type.bits, type))  # a negative amount is large
    if left:
        by = f.select(inside, b, constant(0, type))
        return f.select(inside, f.binary("shl", a, by), constant(0, type))
    if type.kind == "u" or type.is_bool:
        by = f.select(inside, b, constant(0, type))
        return f.select(inside, f.binary("lshr", a, by), constant(0, type))
    return f.binary("ashr", a, f.select(inside, b, constant(type.bits - 1, type)))


@emitter("shift_left")
def _shift_left(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return _shift(f, args, left=True)


@emitter("shift_right")
def _shift_right(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    return _shift(f, args, left=False)


@emitter("bitcast")
def _bitcast(
    f: Function, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    """The same bits; bfloat is stored as a 16-bit integer, booleans are 0 and 1."""
    x = args[0]
    if x.type.is_bool or result.is_bool:
        return cast(f, x, result)
    if x.type.text == result.text:
        return Value(x.name, result)
    return f.convert("bitcast", x, result)
