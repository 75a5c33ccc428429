"""Push transposes towards the outputs, so that those of neighbouring layers meet and cancel.

    %t = graph.transpose %x                     %r = graph.map "relu" %x
    %r = graph.map "relu" %t           ->       %t = graph.transpose %r

One rule a family of operations rewrites f(transpose x) to transpose(f' x); composition and
cancellation of transposes do the rest.  Reshapes are passed where they split or merge axes that
are together in x; where they are not (a channel shuffle, channels last) the reshape keeps a
transpose of those axes alone and the layout change moves on.  Operands in the other order are
transposed the other way if that moves fewer elements than it saves.

What remains is at inputs and outputs, and where a model mixes axes itself: convolutions then make
their channels in the order that is split off next (`rules/channel_order.py`).  On the NPU
transposes that keep the innermost axis are plain transfers; permutations of channels alone go to
its matrix unit (`rules/permutation.py`), those of a matrix product's factors are part of it.  The
others are copies by its vector unit between layers of the NPU, and placed on the CPU elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, Use

from ...dialects.graph import ConstantOp, ConvOp, MatMulOp, ReshapeOp, TransposeOp, device_of, place
from ...dialects.types import int_values, shape_of
from ..base import CompilerContext, Pass, main_function
from .rules import channel_order, permutation, sinking, sinking_reshape
from .rules.driver import apply_rules, merge
from .rules.movement import TRANSPOSE_RULES, moves_only_ones

RULES = merge(TRANSPOSE_RULES, sinking.RULES, sinking_reshape.RULES)
"""Everything this pass does."""


@dataclass(frozen=True)
class SinkTransposesPass(Pass):
    """Move transposes down through other operations until they cancel or leave the model."""

    name = "sink-transposes"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite `@main` to a fixed point."""
        block = main_function(module).body.block
        apply_rules(block, RULES, ctx.constants)
        apply_rules(block, merge(channel_order.RULES, permutation.RULES), ctx.constants)
        for op in block.ops:
            if isinstance(op, TransposeOp) and device_of(op) == "npu":
                perm = int_values(op.perm)
                plain = perm[-1] == len(perm) - 1 or moves_only_ones(perm, shape_of(op.x))
                fine = plain or all(map(_multiplies, op.result.uses)) or _inside(op)
                if not fine:
                    place(op, "cpu")


def _inside(op: TransposeOp) -> bool:
    """Whether the NPU computes what `op` reads and reads what it yields: no trip to the CPU then.

    At the border the CPU transposes while it converts.
    """
    source = op.x.owner
    while isinstance(source, ReshapeOp):
        source = source.x.owner
    if not isinstance(source, Operation) or isinstance(source, ConstantOp):
        return False
    readers = [use.operation for use in op.result.uses]
    return device_of(source) == "npu" and any(device_of(r) == "npu" for r in readers)


def _multiplies(use: Use) -> bool:
    """Whether the NPU's matrix unit takes the value of `use` as a factor, in any order of axes."""
    user = use.operation
    if device_of(user) != "npu":
        return False
    return isinstance(user, MatMulOp) or (isinstance(user, ConvOp) and use.index == 1)


PASS = SinkTransposesPass
