"""Let NPU nests write where a copy would put their results.

    loop.nest domain [12, 128, 64, 128] outs(%x)      maps [.., (h, m, n, k) -> (h, m, n)]
    loop.nest domain [128, 12, 64] ins(%x) outs(%y)   maps [(m, h, n) -> (h, m, n), (m, h, n) -> ..]

becomes

    loop.nest domain [12, 128, 64, 128] outs(%y)      maps [.., (h, m, n, k) -> (m, h, n)]

A copy is a nest that yields what it reads, all of it, with its axes in another order.  It goes
where nobody else reads what it copies, and where the innermost axis stays innermost, so that
results are still written in rows.  (Heads of attention, which are merged behind it.)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ArrayAttr, ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.locations import inherit
from ...dialects.loop import AllocOp, Linear, NestOp, ScalarYieldOp
from ...dialects.types import shape_of
from ..base import CompilerContext, Pass, main_function
from .segments import device_of_nest


@dataclass(frozen=True)
class FoldCopiesPass(Pass):
    """Fold copies into the NPU nests that make what they copy."""

    name = "fold-copies"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Fold all copies of @main."""
        for op in list(main_function(module).body.block.ops):
            if isinstance(op, NestOp) and (axes := permutation(op)) is not None:
                fold(op, axes)


def permutation(nest: NestOp) -> tuple[int, ...] | None:
    """Of a copy, which axis of what it reads each axis of its result is; None for other nests."""
    last = nest.body.block.last_op
    if len(nest.reads) != 1 or not nest.outs or nest.reduced or device_of_nest(nest) != "npu":
        return None
    if nest.epilogue_block is not None or nest.body.block.first_op is not last:
        return None
    assert isinstance(last, ScalarYieldOp)
    if last.args[0] is not nest.body.block.args[0]:
        return None
    source, target = (_dims(map, nest.sizes) for map in nest.linear_maps)
    if source is None or target is None or sorted(source) != sorted(target):
        return None
    shapes = shape_of(nest.reads[0]), shape_of(nest.output)
    if any(
        tuple(nest.sizes[d] for d in dims) != shape
        for dims, shape in zip((source, target), shapes, strict=True)
    ):
        return None
    return tuple(source.index(d) for d in target)


def _dims(access: Linear, sizes: tuple[int, ...]) -> list[int] | None:
    """The dimension that runs along each axis, all alone; None if it is not so."""
    out = [d for row in access.coeffs for d, a in enumerate(row) if a]
    alone = all(sum(map(bool, row)) == 1 and max(row) == 1 for row in access.coeffs)
    return out if alone and not any(access.consts) and len(set(out)) == len(sizes) else None


def fold(copy: NestOp, axes: tuple[int, ...]) -> None:
    """Let the only nest that writes what `copy` reads write its result instead, if that pays."""
    source, target = copy.reads[0], copy.output
    users = [use.operation for use in source.uses]
    writers = [op for op in users if op is not copy]
    if len(users) != 2 or axes[-1:] != (len(axes) - 1,) or not _local(source) or not _local(target):
        return
    maker = writers[0]
    if not isinstance(maker, NestOp) or maker.output is not source:
        return
    if device_of_nest(maker) != "npu" or maker.parent_block() is not copy.parent_block():
        return
    made = maker.linear_maps[-1]
    rows, consts = [made.coeffs[a] for a in axes], [made.consts[a] for a in axes]
    moved = Linear(tuple(rows), tuple(consts), made.num_dims)
    maker.maps = ArrayAttr([*maker.maps.data[:-1], moved.attr])
    alloc, block = target.owner, maker.parent_block()
    assert isinstance(alloc, AllocOp) and block is not None
    alloc.detach()
    block.insert_op_before(alloc, maker)
    maker.operands[len(maker.operands) - 1] = target
    maker.attributes.pop("tensor", None)  # it is another tensor now
    maker.attributes |= copy.attributes
    inherit(maker, copy)
    for op in (copy, source.owner):
        assert isinstance(op, Operation)
        op.detach()
        op.erase()


def _local(value: SSAValue) -> bool:
    return isinstance(value.owner, AllocOp)


PASS = FoldCopiesPass
