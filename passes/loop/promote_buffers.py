"""Keep tensors in the scratchpad from where they are made to where they are last read.

    %y = loop.alloc {local, offset = 64} : memref<1x56x56x64xi8, "dram">
    loop.nest ... outs(%y)
    loop.nest ins(%y, %w) ... maps [(... d1 + d4 - 1, ...)] fills [3]         (padding of 1)

becomes

    %y = loop.alloc {offset = 6291456} : memref<1x58x58x64xi8, "spm">
    loop.fill (subview of the border) with 3
    loop.nest ... outs(%y)                                                   (shifted by 1)
    loop.nest ins(%y, %w) ... maps [(... d1 + d4, ...)]

Such a tensor is neither stored nor loaded again.  What convolutions read outside it is a border of
its own, filled once.  Candidates are buffers that nothing outside the segment uses, and whose
readers agree on the border.  They are taken in the order of DRAM bytes saved per byte and operation
of their life, each if the modelled cycles of the segment fall: a resident tensor saves transfers
but leaves less room for the tiles of every operation it lives through.  Tensors are packed at the
end of the scratchpad; tiles use the rest.  A sum may take the place of its shortcut: the last nest
to read a tensor, element by element, writes its result there where that saves room.  Where there is
room, addresses are then chosen anew (`reuse`), so that nests wait less for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xdsl.dialects.builtin import ArrayAttr, ModuleOp, UnitAttr
from xdsl.ir import Operation, SSAValue

from ...dialects.loop import (
    AllocOp,
    CopyOp,
    FillOp,
    GlobalOp,
    Linear,
    NestOp,
    ReshapeOp,
    SubviewOp,
    fill_attr,
)
from ...dialects.types import element_of, memref, shape_of
from ..base import CompilerContext, Pass
from .cores import SHARDED, core_loops, counts, top_block
from .promotion import Candidate, Promotion, candidates_of
from .reuse import spread
from .tile_npu import npu_segments


@dataclass(frozen=True)
class PromoteBuffersPass(Pass):
    """Keep intermediate tensors in the scratchpad where that saves time."""

    name = "promote-buffers"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Promote buffers of every NPU segment."""
        if ctx.machine is None or not self.enable:
            return
        for func in npu_segments(module):
            ops = list(top_block(func).ops)
            promotion = Promotion(ops, ctx.machine, counts(core_loops(func)))
            for c, address in spread(promotion, promotion.choose(candidates_of(ops, promotion))):
                rewrite(c, promotion.ops[c.first], address)


def rewrite(c: Candidate, first: Operation, address: int) -> None:
    """Put a candidate into the scratchpad; `first` is the first operation that uses it."""
    old = c.alloc.result
    block = first.parent_block()
    assert block is not None
    new = AllocOp(memref(c.shape, element_of(old), "spm"), offset=address)
    new.location = first.location
    new.result.name_hint = old.name_hint
    if c.sharded:
        new.attributes[SHARDED] = UnitAttr()
    block.insert_op_before(new, first)
    rest = [high - written for high, written in zip(c.high, c.written, strict=True)]
    for border in borders(new.result, c.low, rest, c.fill):
        border.location = first.location
        block.insert_op_before(border, first)
    mapping: dict[SSAValue, SSAValue] = {old: new.result}
    dead: list[Operation] = [c.alloc]
    if isinstance(c.alloc, GlobalOp):
        start = Linear.of([dict[int, int]()] * len(c.shape), 0)
        load = CopyOp("load", old, new.result, [], start)
        load.location = first.location
        block.insert_op_before(load, first)
        dead = []
    for alias in c.values[1:]:
        reshape = alias.owner
        assert isinstance(reshape, ReshapeOp)
        made = ReshapeOp(
            mapping[reshape.x], memref(c.shape_with_border(alias), element_of(alias), "spm")
        )
        made.location = first.location
        made.result.name_hint = alias.name_hint
        block.insert_op_before(made, first)
        mapping[alias] = made.result
        dead.append(reshape)
    for nest in c.nests:
        redirect(nest, mapping, c.low)
    for op in reversed(dead):
        op.detach()
        op.erase()


def redirect(nest: NestOp, mapping: dict[SSAValue, SSAValue], low: Sequence[int]) -> None:
    """Let `nest` use the resident tensor, whose element 0 is `low` elements in."""
    maps, fills = list(nest.linear_maps), list(nest.fill_values)
    for i, value in enumerate(nest.operands):
        if value not in mapping:
            continue
        map = maps[i]
        if any(low):  # then there are no other shapes
            consts = tuple(c + x for c, x in zip(map.consts, low, strict=True))
            maps[i] = replace(map, consts=consts)
        if i < len(fills):
            fills[i] = None
        nest.operands[i] = mapping[value]
    nest.maps = ArrayAttr([m.attr for m in maps])
    nest.fills = ArrayAttr([fill_attr(f) for f in fills])


def borders(
    buffer: SSAValue, low: Sequence[int], high: Sequence[int], fill: float | int | None
) -> list[Operation]:
    """Operations that fill the border: per axis its two ends, within those of outer axes."""
    shape, out = list(shape_of(buffer)), list[Operation]()
    if fill is None:
        return out
    start, size = [0] * len(shape), list(shape)
    for axis, n in enumerate(shape):
        for begin, extent in ((0, low[axis]), (n - high[axis], high[axis])):
            if extent:
                at = [begin if r == axis else s for r, s in enumerate(start)]
                box = [extent if r == axis else s for r, s in enumerate(size)]
                coords = Linear.of([dict[int, int]()] * len(shape), 0, at)
                view = SubviewOp(buffer, [], coords, memref(box, element_of(buffer), "spm"))
                out += [view, FillOp(view.result, fill)]
        start[axis], size[axis] = low[axis], n - low[axis] - high[axis]
    return out


PASS = PromoteBuffersPass
