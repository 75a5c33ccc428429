"""Mark the products whose constant weights are 2:4 sparse.

    loop.nest domain [1, 56, 56, 64, 3, 3, 32] reduce "add" ... ins(%x, %w) ...
  becomes, where %w has at most two values that are not 0 in every four input channels,
    loop.nest ... {sparse}

On machines whose array takes compressed weights, tile-npu then tiles for them, pack-constants
stores them compressed, and lower-to-npu uses smatmul.  Groups of four lie along the innermost
reduction dimension, which must be a multiple of 8 long.  Other weights stay as they are: those of
depthwise convolutions, and where zeros do not stand for zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp, StringAttr, UnitAttr
from xdsl.ir import SSAValue

from ...dialects.loop import GlobalOp, NestOp
from ...dialects.sparsity import is_sparse
from ..base import CompilerContext, Pass
from .packing import global_array
from .tiling.classify import SPARSE, choose_unit, reduction_of, weights_axis


@dataclass(frozen=True)
class FindSparsityPass(Pass):
    """Mark products with 2:4 sparse weights, for machines that take them compressed."""

    name = "find-sparsity"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Mark nests that run on the NPU; nothing on other machines."""
        if ctx.machine is None or not ctx.machine.sparse or not self.enable:
            return
        known: dict[tuple[SSAValue, int], bool] = {}
        for nest in module.walk():
            if not isinstance(nest, NestOp) or nest.device != StringAttr("npu"):
                continue
            reduction = choose_unit(nest, reduction_of(nest), ctx.machine)
            if (found := weights_axis(nest, reduction)) is None:
                continue
            assert reduction.b is not None
            weights, axis = nest.reads[reduction.b], found[1]
            if not isinstance(weights.owner, GlobalOp):
                continue
            if (weights, axis) not in known:
                array = global_array(weights.owner, ctx.constants)
                known[weights, axis] = is_sparse(array, axis)
            if known[weights, axis]:
                nest.attributes[SPARSE] = UnitAttr()


PASS = FindSparsityPass
