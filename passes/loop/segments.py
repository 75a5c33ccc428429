"""Division of the program between the devices: maximal runs of consecutive operations.

nest on "npu"; nest on "npu"; nest on "cpu"   ->   npu segment 0 (2 nests), cpu segment 1 (1 nest)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation

from ...dialects.loop import CopyOp, FillOp, ForOp, NestOp

EXECUTED = (NestOp, CopyOp, FillOp, ForOp)
"""Operations that do work; buffers, globals and aliases belong to no segment."""


@dataclass
class Segment:
    """A run of operations on one device; `index` counts segments of either kind, from 0."""

    kind: str
    index: int
    ops: list[Operation] = field(default_factory=list[Operation])


def device_of_nest(op: Operation) -> str:
    """The device of an operation: "cpu" where nothing is said."""
    return op.device.data if isinstance(op, NestOp) and op.device is not None else "cpu"


def segments(func: FuncOp) -> list[Segment]:
    """The segments of a function in memref form, in program order."""
    out: list[Segment] = []
    for op in func.body.block.ops:
        if isinstance(op, EXECUTED):
            kind = device_of_nest(op)
            if not out or out[-1].kind != kind:
                out.append(Segment(kind, len(out)))
            out[-1].ops.append(op)
    return out
