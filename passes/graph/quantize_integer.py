"""`quantize-integer`: quantize/dequantize pairs around an operation become integer arithmetic.

    %y = graph.conv (dequantize %xq), (dequantize %wq), %b
    %r = graph.map "clip" %y {min = 0, max = 6}
    %q = graph.quantize %r
==>
    %acc = graph.conv %xq, %wq, %bi {x_zp = ...}                   i8 x i8 -> i32
    %q = graph.requantize %acc, %multiplier, %shift {zp, lo, hi}   clip and zero point included

    %q = graph.quantize (any expression of maps over (dequantize %xq))
==>
    %q = graph.lookup %xq, %table                                  256 entries

Tables are exact: they hold what the scalar functions of `dialects/scalar.py` give.  Accumulating
operations round once (`dialects/fixed_point.py`), and so may differ by one step from rounding the
real result.  What has no integer form, or whose accumulator might leave 32 bits, stays real
between its dequantize and quantize, with a note.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp, i8
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from ...dialects import scalar
from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import (
    ConstantOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    QuantAttr,
    QuantizeOp,
    RequantizeOp,
    constant_array,
)
from ...dialects.locations import describe, inherit
from ...dialects.types import element_of, shape_of, tensor
from ..base import CompilerContext, Pass, main_function
from ..rewriting import erase_dead, replace
from .encodings import QMAX, QMIN, all_values, quantize_array
from .integer_forms import integer_form
from .quantization_plan import CLAMPS, single_user
from .quantize_push import stored_form, target_encoding
from .requantization import Target

EXPRESSION_LIMIT = 256
"""Most maps one table expression may hold."""


@dataclass(frozen=True)
class Expression:
    """Maps, in program order, over one stored tensor."""

    source: SSAValue
    encoding: QuantAttr
    maps: list[MapOp]


def table_expression(value: SSAValue, store: ConstantStore) -> Expression | None:
    """`value` as maps and scalar constants over the reals of one stored tensor, if it is that."""
    shape, leaf = shape_of(value), None
    maps: dict[MapOp, None] = {}
    stack: list[tuple[SSAValue, bool]] = [(value, False)]
    while stack:
        current, done = stack.pop()
        owner = current.owner
        if isinstance(owner, ConstantOp):
            if math.prod(shape_of(current)) != 1:
                return None
        elif isinstance(owner, DequantizeOp):
            if (leaf is not None and leaf is not current) or shape_of(current) != shape:
                return None
            leaf = current
        elif (
            not isinstance(owner, MapOp)
            or shape_of(current) != shape
            or len(maps) > EXPRESSION_LIMIT
        ):
            return None
        elif done:
            maps[owner] = None
        elif owner not in maps:
            stack.append((current, True))
            stack.extend((o, False) for o in owner.args)
    form = stored_form(leaf) if leaf is not None else None
    if form is None or form[1].axis_index is not None or not maps:
        return None
    return Expression(form[0], form[1], list(maps))


def tabulate(expression: Expression, wanted: QuantAttr, store: ConstantStore) -> Array:
    """The stored result of `expression` for each of the 256 stored operands."""
    reals = all_values(expression.encoding)
    values: dict[SSAValue, Array] = {}

    def value_of(operand: SSAValue) -> Array:
        if operand in values:
            return values[operand]
        constant = constant_array(operand, store)
        return reals if constant is None else constant.reshape(())

    for op in expression.maps:
        result = scalar.evaluate(
            op.fn.data, [value_of(o) for o in op.args], op.param_values, element_of(op.result)
        )
        values[op.result] = np.broadcast_to(result, reals.shape)
    return quantize_array(values[expression.maps[-1].result], wanted)


def fused_clamp(op: QuantizeOp) -> tuple[SSAValue, Target, list[MapOp]]:
    """The value before the ReLU and clip that only `op` reads, what must become of it, and those.

    Rounding is monotone, so clamping stored values to the rounded bounds is exact.
    """
    encoding, lo, hi = target_encoding(op), QMIN, QMAX
    value, clamps = op.x, list[MapOp]()
    while (
        isinstance(owner := value.owner, MapOp)
        and owner.fn.data in CLAMPS
        and single_user(value) is not None
    ):
        params = owner.param_values
        bounds = (
            [0.0, math.inf]
            if owner.fn.data == "relu"
            else [float(params["min"]), float(params["max"])]
        )
        below, above = (int(b) for b in quantize_array(np.array(bounds, np.float32), encoding))
        below = min(below, above)  # clip with min > max yields max
        lo, hi = max(lo, min(below, hi)), min(hi, max(above, lo))
        clamps.append(owner)
        value = owner.args[0]
    return value, Target(encoding, lo, hi), clamps


class Integerizer:
    """The rewrites on one function."""

    def __init__(self, ctx: CompilerContext):
        self.ctx, self.store = ctx, ctx.constants

    def rewrite(self, op: QuantizeOp) -> None:
        """Replace `op` and what it rounds by an integer operation, where there is one."""
        encoding = target_encoding(op)
        if element_of(op.result) != i8 or encoding.axis_index is not None:
            return
        if (expression := table_expression(op.x, self.store)) is not None:
            entries = tabulate(expression, encoding, self.store)
            if changes_encoding_only(op, expression, entries):
                self.encode_anew(op, expression, encoding)
                return
            table = ConstantOp.from_array(entries, self.store)
            table.result.name_hint = "table"
            lookup = LookupOp(expression.source, table.result, encoding)
            inherit(lookup, *expression.maps)
            replace(op, [table, lookup])
            erase_dead(expression.maps)
            return
        value, target, clamps = fused_clamp(op)
        producer = value.owner
        form = (
            integer_form(producer, target, self.store) if isinstance(producer, Operation) else None
        )
        if form is None or not isinstance(producer, Operation):
            return
        if single_user(value) is None:
            form = "its result is also used as it is"
        if isinstance(form, str):
            self.ctx.notes.append(f"{describe(producer)} stays in real arithmetic: {form}")
            return
        for new in form:
            inherit(new, producer, *clamps)
        replace(op, form)
        erase_dead([producer, *reversed(clamps)])

    def encode_anew(self, op: QuantizeOp, expression: Expression, encoding: QuantAttr) -> None:
        """Let the same stored values stand for those that `op` rounds."""
        owner = expression.source.owner
        assert isinstance(owner, Operation)
        type = tensor(shape_of(expression.source), i8, encoding)
        source = Rewriter.replace_value_with_new_type(expression.source, type)
        owner.attributes.pop("tensor", None)  # it is another tensor now
        inherit(owner, owner, *expression.maps)
        replace(op, [], [source])
        erase_dead(expression.maps)


def changes_encoding_only(op: QuantizeOp, expression: Expression, entries: Array) -> bool:
    """Whether `op` has the stored values of the operand, and nothing else reads that or the maps.

    So it is with a product by a constant, such as the scale of attention scores: its range is that
    of the operand, times the constant.
    """
    source = expression.source
    if not isinstance(source.owner, RequantizeOp) or not source.has_one_use():
        return False
    [decoded] = {use.operation for use in source.uses}
    results = (decoded.results[0], *(m.result for m in expression.maps))
    readers = {use.operation for result in results for use in result.uses}
    same = entries.dtype == np.int8 and np.array_equal(entries, np.arange(QMIN, QMAX + 1))
    return same and readers <= {op, *expression.maps}


@dataclass(frozen=True)
class QuantizeIntegerPass(Pass):
    """Turn dequantize -> operation -> quantize into exact integer operations and tables."""

    name = "quantize-integer"
    tolerance = 0.05

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite in place; notes say what stays real."""
        block = main_function(module).body.block
        integerizer = Integerizer(ctx)
        for op in [op for op in block.ops if isinstance(op, QuantizeOp)]:
            integerizer.rewrite(op)
        erase_dead([op for op in block.ops if isinstance(op, DequantizeOp | ConstantOp)])


PASS = QuantizeIntegerPass
