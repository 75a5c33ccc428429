"""What commands touch: byte ranges of memories, read or written by a queue.

    npu.load ... (%x)   ->   Use("spm", 1024, 1600, load, write), Use("dram", 0, 576, load, read)

Read-only constants are left out.  On several cores a use tells whether other cores see the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Attribute, Operation

from ...backends.targets.cycles import contiguous
from ...dialects.loop.structure import space_of
from ...dialects.npu.attributes import AccessAttr, TensorMapAttr
from ...dialects.npu.commands import Command
from ...dialects.npu.cores import spreads
from ...dialects.npu.descriptors import TensorBox, byte_span
from ...dialects.npu.isa import OperandSpec, Queue
from ...dialects.npu.operands import (
    buffer_of,
    core_levels,
    cores_of,
    element_bytes,
    slot_stride,
    tensor_box,
)
from ...dialects.npu.structure import AllocOp, LoopOp


@dataclass(frozen=True)
class DramUse:
    """A tensor box and the counts of the loops around its command."""

    box: TensorBox
    trips: tuple[int, ...]


MOST_PARTS = 16
"""Cores whose parts of a buffer are told apart, at most."""


@dataclass(frozen=True)
class Part:
    """Bytes of a buffer that a command touches: runs of `run`, (size, stride) of what repeats them.

    `loops`: (count, stride) of the loops around the command; none if not known.
    """

    base: int
    run: int
    dims: tuple[tuple[int, int], ...]
    loops: tuple[tuple[int, int], ...]

    def moves_on(self, level: int) -> bool:
        """Whether iterations of the loop at `level`, those around it fixed, have no byte in common.

        Proved where strides nest: each passes all that the lesser ones reach.
        """
        if level >= len(self.loops) or not self.loops[level][1]:
            return False
        reached = self.run
        repeated = [(n, abs(s)) for n, s in (*self.dims, *self.loops[level:]) if n > 1 and s]
        for size, stride in sorted(repeated, key=lambda d: d[1]):
            if stride < reached:
                return False
            reached += (size - 1) * stride
        return True


Place = tuple[LocationAttr, Operation]
"""The nest that a use is part of, by location, and the tensor, as nests of one node share that."""


@dataclass
class Use:
    """A queue reading or writing bytes [low, high) of a memory; `buffer` is None for DRAM.

    `shared`: other cores see the same bytes (DRAM), or have them written as well (broadcasts).
    `where`: the tensor and the nest that the use is part of, if its cores may write in any order.
    """

    memory: str
    low: int
    high: int
    queue: Queue
    write: bool
    buffer: AllocOp | None
    shared: bool = False
    where: Place | None = None
    boxes: list[DramUse] = field(default_factory=list[DramUse])
    parts: list[Part] = field(default_factory=list[Part])


def command_uses(op: Command, trips: tuple[int, ...]) -> list[Use]:
    """What a command reads and writes; read-only constants are left out."""
    uses: list[Use] = []
    spec, params = op.instruction, op.param_values
    cored = cores_of(op) is not None
    for index, (row, value, access) in enumerate(
        zip(spec.operands, op.buffers, op.accesses.data, strict=True)
    ):
        buffer, space = buffer_of(value), space_of(value)
        where = (op.location, buffer) if cored else None
        shared = cored and (
            not isinstance(buffer, AllocOp) or (index == 1 and spreads(spec.mnemonic, params))
        )
        if space == "const":
            continue
        if isinstance(buffer, AllocOp):
            starts = [i * slot_stride(buffer) for i in range(buffer.slots.value.data)]
            if buffer.address is None:
                memory, low = (
                    f"{space} {id(buffer)}",
                    0,
                )  # its own memory; never printed or ordered by
            else:
                memory, low = space, buffer.address.value.data
            ranges = _ranges(buffer, access, element_bytes(row, params), trips, core_levels(op))
            spans = [(low + s + begin, low + s + end) for s in starts for begin, end in ranges]
            boxes, alloc = [], buffer
            parts = [_part(access, row, params, trips)]
        else:
            assert isinstance(access, TensorMapAttr)
            box = tensor_box(access, buffer.address.value.data)
            memory, spans = space, [dram_range(box, trips, element_bytes(row, params))]
            boxes, parts, alloc = [DramUse(box, trips)], [], None
        uses += [
            Use(memory, low, high, op.queue, d == "w", alloc, shared, where, boxes, parts)
            for low, high in spans
            for d in row.direction
            if low < high
        ]
    return uses


def _ranges(
    buffer: AllocOp, access: Attribute, element: int, trips: tuple[int, ...], levels: int
) -> list[tuple[int, int]]:
    """Bytes [begin, end) of a buffer that a command touches in any iteration, core by core.

    Of a buffer that is fresh in each iteration of a loop, all of it: iterations are what counts.
    """
    looped = isinstance(buffer.parent_op(), LoopOp)
    if looped or not isinstance(access, AccessAttr):
        return [(0, buffer.bytes)]
    low, high = byte_span(access.dims, element)
    moves = list(zip(access.loop_strides, trips, strict=False))
    cores = moves[:levels] if prod(trips[:levels]) <= MOST_PARTS else []
    for stride, count in moves[len(cores) :]:
        low, high = low + min(stride * (count - 1), 0), high + max(stride * (count - 1), 0)
    begins = sorted(
        access.base.data + low + sum(position)
        for position in product(*([stride * i for i in range(count)] for stride, count in cores))
    )
    out: list[tuple[int, int]] = []
    for begin in begins:
        if out and begin <= out[-1][1]:
            out[-1] = out[-1][0], begin + high - low
        else:
            out.append((begin, begin + high - low))
    return out


def _part(
    access: Attribute, row: OperandSpec, params: Mapping[str, int], trips: tuple[int, ...]
) -> Part:
    """What a command touches of a buffer from iteration to iteration."""
    if not isinstance(access, AccessAttr):
        return Part(0, 0, (), ())
    strides = (*access.loop_strides, *[0] * len(trips))
    run, outer = contiguous(access.dims, element_bytes(row, params))
    return Part(access.base.data, run, outer, tuple(zip(trips, strides, strict=False)))


def dram_range(box: TensorBox, trips: Sequence[int], element: int) -> tuple[int, int]:
    """Bytes [low, high) that a box can touch in any iteration; empty if it is always outside."""
    low = high = box.base
    for axis, extent in enumerate(box.extents):
        first, last = reach(box, axis, trips, 0)
        first, last = max(first, 0), min(last, extent - 1)
        if first > last:
            return 0, 0
        ends = sorted((first * box.strides[axis], last * box.strides[axis]))
        low, high = low + ends[0], high + ends[1]
    return low, high + element


def reach(box: TensorBox, axis: int, trips: Sequence[int], outer: int) -> tuple[int, int]:
    """Least and greatest coordinate on `axis`, loops outside level `outer` at iteration 0."""
    moves = [(box.box[axis] - 1) * box.steps[axis]]
    moves += [s * (n - 1) for s, n in list(zip(box.loops[axis], trips, strict=False))[outer:]]
    start = box.start[axis]
    return start + sum(m for m in moves if m < 0), start + sum(m for m in moves if m > 0)


def summary(uses: list[list[Use]]) -> list[Use]:
    """One use per range, queue and direction."""
    merged: dict[tuple[object, ...], Use] = {}
    for use in (u for child in uses for u in child):
        key = (
            use.memory, use.low, use.high, use.queue, use.write, use.buffer, use.shared, use.where
        )  # fmt: skip
        if key in merged:
            merged[key].boxes.extend(use.boxes)
            merged[key].parts.extend(use.parts)
        else:
            merged[key] = Use(*key, boxes=list(use.boxes), parts=list(use.parts))
    return list(merged.values())
