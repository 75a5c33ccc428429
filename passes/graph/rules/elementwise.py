"""Algebra of elementwise operations.

Floating-point rules are exact but for the sign of zero, and but for division by a constant, which
becomes multiplication by its reciprocal (at most one more rounding, 6e-8 relative in f32).
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.dialects.builtin import f32, f64
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.graph import BroadcastOp, CastOp, DequantizeOp, MapOp, QuantizeOp
from ....dialects.graph.base import broadcast_shapes
from ....dialects.types import Param, element_of, is_float, numpy_dtype, shape_of
from .driver import Replacement, Rewriter, Rules, producer

IDEMPOTENT = ("relu", "abs", "floor", "ceil", "round", "sign")
"""f(f(x)) = f(x)."""

NON_NEGATIVE = ("relu", "sigmoid", "exp", "abs", "sqrt", "hard_sigmoid", "softplus")
"""Functions whose values are >= 0 (or NaN)."""

SMALL = 1 << 16
"""Elements up to which rules compute new constants."""


def no_op(op: MapOp, ctx: Rewriter) -> Replacement:
    """identity(x) = x."""
    same = op.fn.data == "identity" and op.args[0].type == op.result.type
    return op.args[0] if same else None


def cast_to_same(op: CastOp, ctx: Rewriter) -> Replacement:
    """cast(x : t -> t) = x."""
    return op.x if op.x.type == op.result.type else None


def involution(op: MapOp, ctx: Rewriter) -> Replacement:
    """neg(neg x) = x and not(not x) = x."""
    if op.fn.data not in ("neg", "not"):
        return None
    inner = producer(op.args[0], op.fn.data)
    return inner.args[0] if inner and inner.args[0].type == op.result.type else None


def idempotent(op: MapOp, ctx: Rewriter) -> Replacement:
    """f(f x) = f(x)."""
    return op.args[0] if op.fn.data in IDEMPOTENT and producer(op.args[0], op.fn.data) else None


def absorbed(op: MapOp, ctx: Rewriter) -> Replacement:
    """relu(x) = abs(x) = x for x >= 0; abs(neg x) = abs(x)."""
    if op.fn.data not in ("relu", "abs"):
        return None
    if producer(op.args[0], *NON_NEGATIVE):
        return op.args[0]
    negated = producer(op.args[0], "neg") if op.fn.data == "abs" else None
    return [MapOp("abs", [negated.args[0]])] if negated else None


def bounds(op: MapOp) -> tuple[float, float]:
    """Minimum and maximum of a `clip` or `relu`."""
    if op.fn.data == "relu":
        return 0.0, math.inf
    values = op.param_values
    return float(values["min"]), float(values["max"])


def clip(x: SSAValue, low: float, high: float) -> MapOp:
    """`relu` where that is what the bounds say, else `clip`."""
    if (low, high) == (0.0, math.inf):
        return MapOp("relu", [x])
    params: dict[str, Param] = {}
    if low != -math.inf:
        params["min"] = low
    if high != math.inf:
        params["max"] = high
    return MapOp("clip", [x], params)


def merge_clips(op: MapOp, ctx: Rewriter) -> Replacement:
    """clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d)), for a <= b and c <= d."""
    if op.fn.data not in ("clip", "relu"):
        return None
    low, high = bounds(op)
    if op.fn.data == "clip" and (low, high) == (-math.inf, math.inf):
        return op.args[0]
    inner = producer(op.args[0], "clip", "relu")
    if inner is not None and low <= high:
        a, b = bounds(inner)
        if a <= b:
            if low <= a and b <= high:
                return op.args[0]
            return [clip(inner.args[0], *(min(max(v, low), high) for v in (a, b)))]
    if op.fn.data == "clip" and (low, high) == (0.0, math.inf):
        return [MapOp("relu", [op.args[0]])]
    return None


def constant_to_the_right(op: MapOp, ctx: Rewriter) -> Replacement:
    """C + x = x + c, likewise for every commutative function."""
    if op.fn.data not in ("add", "mul", "minimum", "maximum", "and", "or", "xor", "equal"):
        return None
    a, b = op.args
    if ctx.array(a) is None or ctx.array(b) is not None:
        return None
    return [MapOp(op.fn.data, [b, a], element=element_of(op.result))]


_RIGHT_NEUTRAL: dict[str, float] = {"add": 0, "sub": 0, "mul": 1, "div": 1, "pow": 1}


def neutral_constant(op: MapOp, ctx: Rewriter) -> Replacement:
    """X + 0 = x - 0 = x * 1 = x / 1 = x ** 1 = x, where the constant does not broadcast x."""
    neutral = _RIGHT_NEUTRAL.get(op.fn.data)
    if neutral is None or op.args[0].type != op.result.type:
        return None
    return op.args[0] if ctx.uniform(op.args[1]) == neutral else None


def zero_product(op: MapOp, ctx: Rewriter) -> Replacement:
    """X * 0 = 0 for integers (a float may be infinite or NaN)."""
    if op.fn.data != "mul" or is_float(element_of(op.result)) or ctx.uniform(op.args[1]) != 0:
        return None
    zero = ctx.constant(np.zeros((), numpy_dtype(element_of(op.result))))
    return [zero, BroadcastOp(zero.result, shape_of(op.result))]


def subtract_constant(op: MapOp, ctx: Rewriter) -> Replacement:
    """X - c = x + (-c) and 0 - x = -x, for floats."""
    if op.fn.data != "sub" or not is_float(element_of(op.result)):
        return None
    c = ctx.array(op.args[1])
    if c is not None and c.size <= SMALL and ctx.array(op.args[0]) is None:
        negative = ctx.constant(-c)
        return [negative, MapOp("add", [op.args[0], negative.result])]
    if ctx.uniform(op.args[0]) == 0 and op.args[1].type == op.result.type:
        return [MapOp("neg", [op.args[1]])]
    return None


def divide_by_constant(op: MapOp, ctx: Rewriter) -> Replacement:
    """X / c = x * (1 / c), for f32 and f64 where 1 / c is a normal number."""
    if op.fn.data != "div" or ctx.array(op.args[0]) is not None:
        return None
    c = ctx.array(op.args[1])
    if c is None or c.size > SMALL or element_of(op.args[1]) not in (f32, f64):
        return None
    with np.errstate(all="ignore"):
        inverse: Array = np.asarray(1 / c).astype(c.dtype)
    if not (np.isfinite(inverse) & (np.abs(inverse) >= np.finfo(c.dtype).tiny)).all():
        return None
    new = ctx.constant(inverse)
    return [new, MapOp("mul", [op.args[0], new.result])]


_POWERS = {0.5: "sqrt", -1.0: "reciprocal", -0.5: "rsqrt"}


def constant_power(op: MapOp, ctx: Rewriter) -> Replacement:
    """X ** 2 = x * x, x ** 0.5 = sqrt(x), x ** -1 = 1 / x, x ** -0.5 = 1 / sqrt(x)."""
    if op.fn.data != "pow" or not is_float(element_of(op.result)):
        return None
    x, exponent = op.args[0], ctx.uniform(op.args[1])
    if exponent is None or x.type != op.result.type:
        return None
    if exponent == 2:
        return [MapOp("mul", [x, x])]
    return [MapOp(_POWERS[exponent], [x])] if exponent in _POWERS else None


def decided_select(op: MapOp, ctx: Rewriter) -> Replacement:
    """select(c, a, b) for a uniform constant c, or for a = b."""
    if op.fn.data != "select":
        return None
    condition, a, b = op.args
    chosen = a if a is b else None
    if (value := ctx.uniform(condition)) is not None:
        chosen = a if value else b
    return chosen if chosen is not None and chosen.type == op.result.type else None


def broadcast_operand(op: MapOp, ctx: Rewriter) -> Replacement:
    """map(broadcast(x), y) = map(x, y), where y alone gives the result its shape."""
    args = [a.owner.x if isinstance(a.owner, BroadcastOp) else a for a in op.args]
    if args == list(op.args):
        return None
    for keep in range(len(args) + 1):  # keep as few broadcasts as possible
        mixed = [*op.args[:keep], *args[keep:]]
        if broadcast_shapes(*(shape_of(a) for a in mixed)) == shape_of(op.result):
            if mixed == list(op.args):
                return None
            new = MapOp(op.fn.data, mixed, element=element_of(op.result))
            new.properties |= op.properties
            return [new]
    return None


def quantize_of_dequantize(op: QuantizeOp, ctx: Rewriter) -> Replacement:
    """quantize(dequantize(q)) = q where both encodings are the same."""
    inner = op.x.owner
    same = isinstance(inner, DequantizeOp) and inner.x.type == op.result.type
    return inner.x if same and isinstance(inner, DequantizeOp) else None


RULES: Rules = {
    MapOp: (
        no_op,
        involution,
        idempotent,
        absorbed,
        merge_clips,
        constant_to_the_right,
        neutral_constant,
        zero_product,
        subtract_constant,
        divide_by_constant,
        constant_power,
        decided_select,
        broadcast_operand,
    ),
    CastOp: (cast_to_same,),
    QuantizeOp: (quantize_of_dequantize,),
}
"""All elementwise rules."""
