"""Send results only to the cores that read them.

    loop.broadcast %tile                      loop.broadcast %tile levels 2     (to its own row)
    loop.broadcast %tile               ->     (none: each core reads what it has written itself)

What a core makes of a tensor that stays on chip goes to all others after `tile-npu`.  Here the
elements that each core writes and reads are counted, over all tiles: where a core reads only what
it has written, nothing is sent; where it reads what cores of its own row or column of the grid have
written, those send to each other only.  Where nothing is sent, cores do not wait for each other
(insert-sync).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects.loop import AllocOp, BroadcastOp, ForOp, NestOp, ReshapeOp, SubviewOp, space_of
from ...dialects.multicast import receivers
from ...dialects.types import int_values, integer, shape_of
from ..base import CompilerContext, Pass
from .cores import core_loops, counts
from .tile_npu import npu_segments

Mask = np.ndarray[Any, np.dtype[np.bool_]]

MOST_BOXES = 4096
"""Tiles of a tensor from which on it is not looked at."""


@dataclass(frozen=True)
class NarrowBroadcastsPass(Pass):
    """Broadcast along those levels of the grid of cores only that readers need."""

    name = "narrow-broadcasts"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Narrow or remove the broadcasts of every segment of several cores."""
        for func in npu_segments(module) if self.enable else ():
            if loops := core_loops(func):
                for op in loops[-1].body.block.ops:
                    if isinstance(op, AllocOp) and space_of(op.result) == "spm":
                        narrow(op, loops)


def narrow(buffer: AllocOp, loops: Sequence[ForOp]) -> None:
    """Narrow the broadcasts of one tensor, if all that touches it are boxes."""
    views: list[SubviewOp] = []
    sent: list[tuple[BroadcastOp, SubviewOp]] = []
    read: list[SubviewOp] = []
    for view in _views(buffer.result):
        if not isinstance(view, SubviewOp):
            return  # the whole of it
        views.append(view)
        uses = [use.operation for use in view.result.uses]
        if any(isinstance(op, ReshapeOp) for op in uses):
            return
        sent += [(op, view) for op in uses if isinstance(op, BroadcastOp)]
        if any(_reads(op, view.result) for op in uses):
            read.append(view)
    if not sent or sum(_trips(view, loops) for view in views) > MOST_BOXES:
        return
    size = prod(shape_of(buffer.result))
    needs = _boxes(read, loops, size)
    for op, view in sent:  # one for each nest that writes
        levels = _levels(_boxes([view], loops, size), needs, counts(loops))
        if levels is None:
            op.detach()
            op.erase()
        else:
            op.levels_attr = integer(levels)


def _levels(made: Sequence[Mask], needs: Sequence[Mask], grid: Sequence[int]) -> int | None:
    """The narrowest mask of levels to send along; None if no core needs what others have made."""
    anybody = np.logical_or.reduce(made)
    wanted = [need & anybody for need in needs]
    if all(not (want & ~own).any() for want, own in zip(wanted, made, strict=True)):
        return None
    masks = sorted(range(1, 1 << len(grid)), key=int.bit_count)
    for mask in masks[:-1]:
        if all(
            not (want & ~_union(made, (core, *receivers(core, grid, mask)))).any()
            for core, want in enumerate(wanted)
        ):
            return mask
    return 0


def _union(masks: Sequence[Mask], cores: Iterable[int]) -> Mask:
    return np.logical_or.reduce([masks[core] for core in cores])


def _views(value: SSAValue) -> Iterable[Operation]:
    """Everything that uses a buffer, reshaped or not."""
    for use in value.uses:
        if isinstance(use.operation, ReshapeOp):
            yield from _views(use.operation.result)
        else:
            yield use.operation


def _reads(op: Operation, tile: SSAValue) -> bool:
    """Whether `op` reads a tile; what it adds to was its own core's before."""
    return tile in op.reads if isinstance(op, NestOp) else not isinstance(op, BroadcastOp)


def _around(view: SubviewOp, loops: Sequence[ForOp]) -> list[ForOp]:
    """The tile loops around a view."""
    out: list[ForOp] = []
    parent = view.parent_op()
    while isinstance(parent, ForOp) and parent not in loops:
        out.append(parent)
        parent = parent.parent_op()
    return out


def _trips(view: SubviewOp, loops: Sequence[ForOp]) -> int:
    moving = [loop for loop in _around(view, loops) if loop.iv in view.ivs]
    return prod(len(loop.values) for loop in moving)


def _boxes(views: Sequence[SubviewOp], loops: Sequence[ForOp], size: int) -> list[Mask]:
    """For every core, which of the buffer's `size` elements lie in boxes of `views`."""
    out: list[Mask] = []
    for position in product(*(loop.values for loop in loops)):
        core = dict(zip((loop.iv for loop in loops), position, strict=True))
        mask: Mask = np.zeros(size, np.bool_)
        for view in views:
            shape = shape_of(view.buffer)
            moving = [loop for loop in _around(view, loops) if loop.iv in view.ivs]
            for iterations in product(*(loop.values for loop in moving)):
                at = core | dict(zip((loop.iv for loop in moving), iterations, strict=True))
                mask.reshape(shape)[_box(view, at)] = True
        out.append(mask)
    return out


def _box(view: SubviewOp, at: Mapping[SSAValue, int]) -> tuple[slice, ...]:
    start = view.start([at[iv] for iv in view.ivs])
    return tuple(
        slice(low, low + (n - 1) * step + 1, step)
        for low, step, n in zip(start, int_values(view.steps), shape_of(view.result), strict=True)
    )


PASS = NarrowBroadcastsPass
