"""The core level of a segment: one loop around all of it whose iterations are the cores.

    func.func @npu_segment_0() {
      loop.for %core = 0 to 4 step 1 {
        ...
        loop.nest ... {split = 1 : i64}        dimension 1 is divided among the cores
      } {cores}
    }

`distribute` makes it; passes that order what stands at the top level work on its body.
"""

from __future__ import annotations

from xdsl.dialects.builtin import IntegerAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block

from ...dialects.loop import ForOp, NestOp

CORES = "cores"
"""Attribute of the core loop."""
SPLIT = "split"
"""Attribute of nests: the dimension of the domain that is divided among the cores."""


def core_loop(func: FuncOp) -> ForOp | None:
    """The core level; None for a segment that runs on one core."""
    for op in func.body.block.ops:
        if isinstance(op, ForOp):
            return op if CORES in op.attributes else None
    return None


def top_block(func: FuncOp) -> Block:
    """The block whose operations are the segment's, in order."""
    loop = core_loop(func)
    return func.body.block if loop is None else loop.body.block


def core_count(func: FuncOp) -> int:
    """Cores that run the segment."""
    loop = core_loop(func)
    return 1 if loop is None else len(loop.values)


def split_of(nest: NestOp) -> int | None:
    """The dimension divided among the cores."""
    attr = nest.attributes.get(SPLIT)
    return attr.value.data if isinstance(attr, IntegerAttr) else None
