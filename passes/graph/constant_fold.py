"""Compute at compile time what depends on constants alone.

    %c = graph.constant dense<[2, 3]> : tensor<2xi64>
    %r = graph.map "mul" %c, %c          ->        %r = graph.constant dense<[4, 9]>

Bounded in what it makes: never more than `max_elements` elements an operation, and never more than
four times the bytes it was made from unless that is small (64 KiB).  A broadcast of a scalar to a
feature map thus stays a broadcast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp, TensorType, i8
from xdsl.ir import Operation

from ...dialects.graph import ConstantOp, ConvOp, DequantizeOp, GraphOp, MatMulOp
from ...dialects.semantics.graph import evaluate_op
from ...dialects.types import element_of, numpy_dtype, shape_of, ui8
from ..base import CompilerContext, Pass, main_function
from ..rewriting import replace

SMALL_BYTES = 64 << 10
"""Constants of this size may always be made."""

MAX_GROWTH = 4
"""Larger constants are at most this many times the bytes of the operands."""

MAX_MACS = 1 << 30
"""Multiply-accumulates of a folded convolution or matmul."""


def within_bounds(op: Operation, max_elements: int) -> bool:
    """Whether folding `op` is worth its result's memory and its time."""
    made = used = 0
    for value in op.results:
        elements = math.prod(shape_of(value))
        if elements > max_elements:
            return False
        made += elements * numpy_dtype(element_of(value)).itemsize
    for value in op.operands:
        used += math.prod(shape_of(value)) * numpy_dtype(element_of(value)).itemsize
    if isinstance(op, ConvOp | MatMulOp):
        reduced = shape_of(op.operands[1])[-2:] if isinstance(op, MatMulOp) else shape_of(op.w)[1:]
        if math.prod(shape_of(op.result)) * math.prod(reduced) > MAX_MACS:
            return False
    return made <= max(SMALL_BYTES, MAX_GROWTH * used)


@dataclass(frozen=True)
class ConstantFoldPass(Pass):
    """Compute operations whose operands are all constants, within bounds of memory.

    Without `fold_dequantize`, stored 8-bit weights stay as they are.
    """

    name = "constant-fold"
    max_elements: int = 1 << 24
    fold_dequantize: bool = True

    def _keeps(self, op: DequantizeOp) -> bool:
        """Whether `op` stays; biases stored as 32 bits are folded, and rounded back exactly."""
        return not self.fold_dequantize and element_of(op.x) in (i8, ui8)

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """One walk in program order; operands of folded operations that are unused are erased."""
        for op in list(main_function(module).body.block.ops):
            if isinstance(op, ConstantOp) or not isinstance(op, GraphOp) or not op.operands:
                continue
            if isinstance(op, DequantizeOp) and self._keeps(op):
                continue
            sources = [o.owner for o in op.operands]
            constants = [s for s in sources if isinstance(s, ConstantOp)]
            if len(constants) != len(sources) or not within_bounds(op, self.max_elements):
                continue
            args = [c.array(ctx.constants) for c in constants]
            value = evaluate_op(op, args, ctx.constants)[0]
            type = op.results[0].type
            encoding = type.encoding if isinstance(type, TensorType) else None
            new = ConstantOp.from_array(
                np.ascontiguousarray(value).reshape(value.shape), ctx.constants, encoding=encoding
            )
            replace(op, [new])
            for source in dict.fromkeys(constants):
                if source.result.first_use is None:
                    source.detach()
                    source.erase()


PASS = ConstantFoldPass
