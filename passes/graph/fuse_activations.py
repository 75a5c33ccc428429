"""Recognise activation functions that models spell out in elementary operations.

    %s = graph.map "sigmoid" %x
    %y = graph.map "mul" %x, %s          ->        %y = graph.map "silu" %x

One matcher serves them all: a product is flattened into its factors and one number, whatever the
order and the nesting of the multiplications, and the factors are compared with a few shapes.
Recognised: relu, clip, leaky_relu, sigmoid, hard_sigmoid, hard_swish, silu, gelu (erf and tanh),
softplus, mish, softmax.  Parameters must agree to 1e-4 relative (models carry them in f16 or f32).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...dialects.graph import MapOp, ReduceOp, SoftmaxOp
from ...dialects.types import element_of, int_values, is_float, shape_of
from ..base import CompilerContext, Pass, main_function
from .canonicalize import RULES as CANONICAL
from .rules.driver import Replacement, Rewriter, Rules, apply_rules, merge, producer
from .rules.elementwise import bounds, clip

MAX_FACTORS = 6
"""Factors up to which a product is flattened."""


def close(a: float | int | bool | None, b: float) -> bool:
    """Whether a parameter is the expected number."""
    return a is not None and math.isclose(float(a), b, rel_tol=1e-4)


def factors(value: SSAValue, ctx: Rewriter) -> tuple[float, list[SSAValue]]:
    """`value` as number * product of values; nested products and divisions by numbers flattened."""
    number, out, todo = 1.0, list[SSAValue](), [value]
    while todo:
        v = todo.pop()
        uniform = ctx.uniform(v)
        op = producer(v, "mul", "div")
        if uniform is not None:
            number *= float(uniform)
        elif op is not None and op.fn.data == "mul" and len(out) + len(todo) < MAX_FACTORS:
            todo += op.args
        elif op is not None and (divisor := ctx.uniform(op.args[1])) and op.fn.data == "div":
            number /= float(divisor)
            todo.append(op.args[0])
        else:
            out.append(v)
    return number, out


def plus(value: SSAValue, number: float, ctx: Rewriter) -> SSAValue | None:
    """X if `value` is x + number (either order), else None."""
    op = producer(value, "add")
    if op is None:
        return None
    for x, c in (op.args, reversed(op.args)):
        if close(ctx.uniform(c), number):
            return x
    return None


def scaled(value: SSAValue, ctx: Rewriter) -> tuple[float, SSAValue] | None:
    """(number, x) if `value` is number * x with one factor x, else None."""
    number, rest = factors(value, ctx)
    return (number, rest[0]) if len(rest) == 1 else None


def relu6_of_plus_3(value: SSAValue, ctx: Rewriter) -> SSAValue | None:
    """X if `value` is clip(x + 3, 0, 6), else None."""
    inner = producer(value, "clip")
    return plus(inner.args[0], 3.0, ctx) if inner and bounds(inner) == (0.0, 6.0) else None


def one_plus_erf(value: SSAValue, x: SSAValue, ctx: Rewriter) -> bool:
    """Whether `value` is 1 + erf(x / sqrt(2))."""
    inner = plus(value, 1.0, ctx)
    erf = producer(inner, "erf") if inner is not None else None
    argument = scaled(erf.args[0], ctx) if erf else None
    return argument is not None and argument[1] is x and close(argument[0], math.sqrt(0.5))


def one_plus_tanh(value: SSAValue, x: SSAValue, ctx: Rewriter) -> bool:
    """Whether `value` is 1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))."""
    inner = plus(value, 1.0, ctx)
    tanh = producer(inner, "tanh") if inner is not None else None
    if tanh is None:
        return False
    number, rest = factors(tanh.args[0], ctx)
    if not close(number, math.sqrt(2 / math.pi)):
        return False
    if len(rest) == 2 and x in rest:  # x * (1 + 0.044715 x^2)
        other = rest[1] if rest[0] is x else rest[0]
        square = plus(other, 1.0, ctx)
        return square is not None and is_power(square, x, 2, 0.044715, ctx)
    total = producer(rest[0], "add") if len(rest) == 1 else None
    if total is None or x not in total.args:
        return False
    cube = total.args[1] if total.args[0] is x else total.args[0]
    return is_power(cube, x, 3, 0.044715, ctx)


def is_power(value: SSAValue, x: SSAValue, exponent: int, number: float, ctx: Rewriter) -> bool:
    """Whether `value` is number * x^exponent, by products or `pow`."""
    found, rest = factors(value, ctx)
    degree = 0
    for v in rest:
        power = producer(v, "pow")
        if v is x:
            degree += 1
        elif (
            power is not None
            and power.args[0] is x
            and (n := ctx.uniform(power.args[1])) is not None
        ):
            degree += n if n == int(n) else math.nan
        else:
            return False
    return degree == exponent and close(found, number)


def product(op: MapOp, ctx: Rewriter) -> Replacement:
    """silu, hard_sigmoid, hard_swish, gelu and mish, which are products."""
    if op.fn.data not in ("mul", "div") or not is_float(element_of(op.result)):
        return None
    number, rest = factors(op.result, ctx)
    if len(rest) == 1:
        x = relu6_of_plus_3(rest[0], ctx)
        if x is not None and close(number, 1 / 6) and x.type == op.result.type:
            return [MapOp("hard_sigmoid", [x], {"alpha": 1 / 6, "beta": 0.5})]
        return None
    if len(rest) != 2:
        return None
    for x, gate in ((rest[0], rest[1]), (rest[1], rest[0])):
        found = gated(x, gate, number, ctx) if x.type == op.result.type else None
        if found == "gelu_tanh":
            return [MapOp("gelu", [x], {"approximate": "tanh"})]
        if found is not None:
            return [MapOp(found, [x])]
    return None


def gated(x: SSAValue, gate: SSAValue, number: float, ctx: Rewriter) -> str | None:
    """The function number * x * gate(x) is, else None."""
    inner = producer(gate, "sigmoid", "hard_sigmoid", "tanh")
    if inner is not None and close(number, 1.0):
        if inner.fn.data == "sigmoid" and inner.args[0] is x:
            return "silu"
        if inner.fn.data == "hard_sigmoid" and inner.args[0] is x:
            values = inner.param_values
            if close(float(values["alpha"]), 1 / 6) and close(float(values["beta"]), 0.5):
                return "hard_swish"
        softplus = producer(inner.args[0], "softplus") if inner.fn.data == "tanh" else None
        if softplus is not None and softplus.args[0] is x:
            return "mish"
    if close(number, 1 / 6) and relu6_of_plus_3(gate, ctx) is x:
        return "hard_swish"
    if close(number, 0.5) and one_plus_erf(gate, x, ctx):
        return "gelu"
    if close(number, 0.5) and one_plus_tanh(gate, x, ctx):
        return "gelu_tanh"
    return None


def extremum(op: MapOp, ctx: Rewriter) -> Replacement:
    """max(x, c) and min(x, c) are clips; max(x, a x) with 0 <= a < 1 is leaky_relu."""
    if op.fn.data not in ("maximum", "minimum") or not is_float(element_of(op.result)):
        return None
    x, other = op.args
    if (c := ctx.uniform(other)) is not None and x.type == op.result.type and not math.isnan(c):
        low = op.fn.data == "maximum"
        return [clip(x, float(c), math.inf) if low else clip(x, -math.inf, float(c))]
    if op.fn.data == "minimum":
        return None
    for v, w in ((x, other), (other, x)):
        found = scaled(w, ctx)
        if found and found[1] is v and 0 <= found[0] < 1 and v.type == op.result.type:
            return [MapOp("leaky_relu", [v], {"alpha": found[0]})]
    return None


def selected(op: MapOp, ctx: Rewriter) -> Replacement:
    """select(x > 0, x, a x) is leaky_relu."""
    if op.fn.data != "select" or not is_float(element_of(op.result)):
        return None
    condition, x, other = producer(op.args[0], "greater", "greater_equal"), op.args[1], op.args[2]
    found = scaled(other, ctx)
    if condition is None or condition.args[0] is not x or ctx.uniform(condition.args[1]) != 0:
        return None
    if found is None or found[1] is not x or x.type != op.result.type:
        return None
    return [MapOp("leaky_relu", [x], {"alpha": found[0]})]


def logistic(op: MapOp, ctx: Rewriter) -> Replacement:
    """1 / (1 + exp(-x)) is sigmoid; log(1 + exp(x)) is softplus."""
    if op.fn.data not in ("reciprocal", "div", "log") or not is_float(element_of(op.result)):
        return None
    if op.fn.data == "div" and ctx.uniform(op.args[0]) != 1:
        return None
    inner = plus(op.args[-1], 1.0, ctx)
    exp = producer(inner, "exp") if inner is not None else None
    if exp is None or exp.result.type != op.result.type:
        return None
    if op.fn.data == "log":
        return [MapOp("softplus", [exp.args[0]])]
    if negated := producer(exp.args[0], "neg"):
        return [MapOp("sigmoid", [negated.args[0]])]
    found = scaled(exp.args[0], ctx)
    return [MapOp("sigmoid", [found[1]])] if found and found[0] == -1 else None


def normalised(op: MapOp, ctx: Rewriter) -> Replacement:
    """exp(x - max x) / sum of it, along one axis, is softmax."""
    if op.fn.data != "div":
        return None
    exp, total = producer(op.args[0], "exp"), op.args[1].owner
    if exp is None or not isinstance(total, ReduceOp) or total.x is not exp.result:
        return None
    centred, axes = producer(exp.args[0], "sub"), int_values(total.axes)
    top = centred.args[1].owner if centred else None
    if centred is None or not isinstance(top, ReduceOp) or top.x is not centred.args[0]:
        return None
    fits = total.kind.data == "sum" and top.kind.data == "max" and int_values(top.axes) == axes
    kept = total.keepdims.value.data and top.keepdims.value.data
    if not (fits and kept and len(axes) == 1) or shape_of(top.x) != shape_of(op.result):
        return None
    return [SoftmaxOp(top.x, axes[0])]


PATTERNS: Rules = {MapOp: (product, extremum, selected, logistic, normalised)}
"""What this pass recognises."""


@dataclass(frozen=True)
class FuseActivationsPass(Pass):
    """Recognise activation functions spelled out in elementary operations."""

    name = "fuse-activations"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite together with the canonicalisations that the patterns rely on."""
        apply_rules(main_function(module).body.block, merge(PATTERNS, CANONICAL), ctx.constants)


PASS = FuseActivationsPass
