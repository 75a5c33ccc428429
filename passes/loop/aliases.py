"""Buffers in several shapes: reshapes of one buffer, and axes that they have in common.

    %heads = loop.reshape %x : memref<1x197x768xi8, "dram"> -> memref<1x197x12x64xi8, "dram">

Both have an axis of 197 rows, as in both 768 elements lie behind it: there it can be extended.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.ir import SSAValue

from ...dialects.loop import ReshapeOp


def whole(value: SSAValue) -> SSAValue:
    """The buffer that a value is, reshaped or not."""
    while isinstance(value.owner, ReshapeOp):
        value = value.owner.x
    return value


def aliases(value: SSAValue) -> list[SSAValue]:
    """`value` and its reshapes."""
    out = [value]
    for use in value.uses:
        if isinstance(use.operation, ReshapeOp):
            out += aliases(use.operation.result)
    return out


def twin(shape: Sequence[int], axis: int, other: Sequence[int]) -> int | None:
    """The axis of shape `other` that is `axis` of `shape` for the same elements; None for none."""
    if tuple(shape) == tuple(other):
        return axis
    same = shape[axis], prod(shape[axis + 1 :])
    found = [k for k, n in enumerate(other) if (n, prod(other[k + 1 :])) == same]
    return found[0] if len(found) == 1 and shape[axis] > 1 else None
