"""Tensors that stay in the scratchpad, and the room they leave.

Resident tensors (promote-buffers) are allocations of a segment in "spm" with an `offset`.  They are
packed at the end of the scratchpad, so that what a layer may use is one range from address 0 to the
lowest resident tensor alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue

from ....backends.targets.machine import Machine
from ....dialects.loop import AllocOp, NestOp, space_of
from ....dialects.types import element_of, numpy_dtype, shape_of
from ..aliases import whole
from ..cores import SHARDED, core_loops, counts, top_block


@dataclass(frozen=True)
class Resident:
    """Bytes [address, address + size) in use from operation `first` to `last` of a segment."""

    address: int
    size: int
    first: int
    last: int

    def alive(self, first: int, last: int) -> bool:
        """Whether it is in use at some operation of [first, last]."""
        return self.first <= last and first <= self.last


def place(residents: Sequence[Resident], size: int, first: int, last: int, capacity: int) -> int:
    """The highest free address for `size` bytes; negative if there is none."""
    # Tensors that are not alive together may overlap: highest end first, all others end below it.
    taken = sorted(
        ((r.address + r.size, r.address) for r in residents if r.alive(first, last)), reverse=True
    )
    top = capacity
    for high, low in taken:
        if top - high >= size:
            break
        top = min(top, low)
    return top - size


def room(residents: Sequence[Resident], index: int, capacity: int) -> int:
    """Bytes from address 0 that are free while operation `index` runs."""
    return min([capacity, *(r.address for r in residents if r.alive(index, index))])


def overwritten(nest: NestOp) -> SSAValue | None:
    """The resident tensor whose place the result of `nest` takes, element by element; None if none.

    A residual sum lies where the shortcut was.  Both have the same shape and are at the same
    address, which promote-buffers does only if `nest` is the last to use the one that it replaces.
    """
    address = _address(nest.output)
    if address is None:
        return None
    return next((x for x in nest.reads if x is not nest.output and _address(x) == address), None)


def _address(value: SSAValue) -> int | None:
    """Scratchpad address of a resident tensor or a reshape of one."""
    alloc = whole(value).owner
    if not isinstance(alloc, AllocOp) or alloc.offset is None or space_of(value) != "spm":
        return None
    return alloc.offset.value.data


def residents_of(func: FuncOp) -> tuple[list[Resident], dict[Operation, int]]:
    """Resident tensors of a segment, and the index of its top-level operations."""
    order = {op: i for i, op in enumerate(top_block(func).ops)}
    found: list[Resident] = []
    for op in order:
        if isinstance(op, AllocOp) and op.offset is not None and space_of(op.result) == "spm":
            uses = [order[u] for u in _users(op.result, top_block(func))]
            size = prod(shape_of(op.result)) * numpy_dtype(element_of(op.result)).itemsize
            size //= prod(counts(core_loops(func))) if SHARDED in op.attributes else 1
            found.append(
                Resident(op.offset.value.data, size, order[op], max(uses, default=order[op]))
            )
    return found, order


def _users(value: SSAValue, block: Block) -> list[Operation]:
    """Operations of `block` that use `value` or an alias of it, themselves or inside."""
    out: list[Operation] = []
    for use in value.uses:
        top: Operation | None = use.operation
        for result in use.operation.results:  # a reshape or subview
            out += _users(result, block)
        while top is not None and top.parent is not block:
            top = top.parent_op()
        if top is not None:
            out.append(top)
    return out


def free_scratchpad(func: FuncOp, machine: Machine) -> dict[Operation, int]:
    """Bytes of scratchpad that every top-level operation of a segment may use."""
    residents, order = residents_of(func)
    free = np.full(len(order), machine.scratchpad.bytes, np.int64)
    for r in residents:
        free[r.first : r.last + 1] = np.minimum(free[r.first : r.last + 1], r.address)
    return dict(zip(order, free.tolist(), strict=True))
