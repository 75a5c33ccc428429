"""Convolutions, poolings and resizes compute channels last; transposes are put at their edges.

    %y = graph.conv %x, %w                      %t = graph.transpose %x {perm = [0, 2, 3, 1]}
                                       ->       %c = graph.conv %t, %w' {layout = "NHWC"}
                                                %y = graph.transpose %c {perm = [0, 3, 1, 2]}

Both ends of the compiler want it: the reduction over channels is contiguous for vector loads and
for rows of a matrix unit.  Constant weights are transposed at compile time (OIHW to HWIO).
`sink-transposes` then cancels the transposes of neighbours; this pass does not look around.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.graph import ConvOp, PoolOp, ResizeOp, quantization
from ...dialects.locations import inherit
from ...dialects.types import element_of, shape_of, string, tensor
from ..base import CompilerContext, Pass, main_function
from .rules.driver import Replacement, Rewriter, Rules, apply_rules
from .rules.layout import encoding_of, permuted_encoding, to_first, to_last, transposed


def convert(op: ConvOp | PoolOp | ResizeOp, ctx: Rewriter) -> Replacement:
    """The operation in layout NHWC between two transposes."""
    if op.layout.data != "NCHW":
        return None
    rank = len(shape_of(op.x))
    first = transposed(op.x, to_last(rank))
    operands: list[SSAValue] = [first.result]
    ops: list[Operation] = [first]
    if isinstance(op, ConvOp):
        ops.append(_weights(op, ctx))
        operands += [ops[-1].results[0], *op.operands[2:]]
    shape = shape_of(op.result)
    type = tensor([shape[p] for p in to_last(rank)], element_of(op.result), encoding_of(op.result))
    new = type_of_op(op).create(
        operands=operands,
        result_types=[type],
        properties={**op.properties, "layout": string("NHWC")},
    )
    return [*ops, inherit(new, op), transposed(new.results[0], to_first(rank))]


def type_of_op(op: Operation) -> type[Operation]:
    """The class of `op`."""
    return type(op)


def _weights(op: ConvOp, ctx: Rewriter) -> Operation:
    rank = len(shape_of(op.w))
    perm = (*range(2, rank), 1, 0)
    array = ctx.array(op.w)
    if array is None:
        return transposed(op.w, perm)
    encoding = permuted_encoding(quantization(op.w.type), perm)
    return ctx.constant(np.ascontiguousarray(array.transpose(perm)), encoding)


RULES: Rules = {ConvOp: (convert,), PoolOp: (convert,), ResizeOp: (convert,)}
"""What this pass does."""


@dataclass(frozen=True)
class ConvertLayoutPass(Pass):
    """Bring convolutions, poolings and resizes to channels-last layout."""

    name = "convert-layout"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Convert every operation once."""
        apply_rules(main_function(module).body.block, RULES, ctx.constants)


PASS = ConvertLayoutPass
