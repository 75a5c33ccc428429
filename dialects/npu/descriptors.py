"""Descriptors as plain data: what the fields of an instruction say about where its operands are.

The IR's attributes (`attributes.py`) are relative to buffers; here addresses are absolute, so these
are what the encoder writes, the decoder returns and the simulator resolves:

    address(t) = base + sum_l loops[l] * iteration(l) + slot_stride * (count mod slots)
                      + sum_d stride[d] * t[d],                      t[d] < size[d]

where `iteration(l)` is the present iteration of the l-th enclosing hardware loop, outermost first,
and `count` the running count of executions of the body at depth `slot_level`:

    count = (..(iteration(0) * trips(1) + iteration(1)) * trips(2) ..) + iteration(slot_level - 1)

Where the first levels are the cores, each core counts for itself: they are left out of `count`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strided:
    """An on-chip operand; `dims` are (size, stride in bytes), outermost first."""

    base: int
    dims: tuple[tuple[int, int], ...]
    loops: tuple[int, ...] = ()
    slots: int = 1
    slot_stride: int = 0
    slot_level: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(size for size, _ in self.dims)

    @property
    def strides(self) -> tuple[int, ...]:
        """Byte strides of the dimensions."""
        return tuple(stride for _, stride in self.dims)


@dataclass(frozen=True, slots=True)
class TensorBox:
    """A DRAM operand: a box of the tensor at byte address `base`; per axis, outermost first.

    Axis d covers coordinates

        start[d] + sum_l loops[d][l] * iteration(l) + t * steps[d],      t < box[d]

    `strides` are in bytes, everything else in elements.
    """

    base: int
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    start: tuple[int, ...]
    steps: tuple[int, ...]
    box: tuple[int, ...]
    loops: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the box."""
        return self.box


def running_count(
    level: int, iterations: Sequence[int], trips: Sequence[int], first: int = 0
) -> int:
    """Executions so far of the loop body at depth `level`: its linearised iteration index.

    `first`: the outermost level that counts, behind those of the cores.
    """
    count = 0
    for i in range(first, level):
        count = count * trips[i] + iterations[i]
    return count


def _advance(strides: Sequence[int], iterations: Sequence[int]) -> int:
    return sum(stride * i for stride, i in zip(strides, iterations, strict=False))


def resolve_access(
    access: Strided, iterations: Sequence[int], trips: Sequence[int], first: int = 0
) -> int:
    """Byte address of element 0 in the present iteration of the enclosing loops.

    `iterations` and `trips` (loop counts) have one entry per enclosing loop, outermost first;
    `first` is the number of core levels.
    """
    address = access.base + _advance(access.loops, iterations)
    if access.slots > 1:
        address += access.slot_stride * (
            running_count(access.slot_level, iterations, trips, first) % access.slots
        )
    return address


def resolve_box(box: TensorBox, iterations: Sequence[int]) -> tuple[int, ...]:
    """Start coordinates in the present iteration of the enclosing loops."""
    return tuple(s + _advance(row, iterations) for s, row in zip(box.start, box.loops, strict=True))


def byte_span(dims: Sequence[tuple[int, int]], element: int) -> tuple[int, int]:
    """Lowest and one past the highest byte touched, relative to element 0 (sizes are positive)."""
    low = sum((size - 1) * stride for size, stride in dims if stride < 0)
    high = sum((size - 1) * stride for size, stride in dims if stride > 0)
    return low, high + element


def overwrites(mask: int, iterations: Sequence[int]) -> bool:
    """Whether a reduction with `overwrite` = `mask` overwrites in this iteration, or accumulates.

    It does when all loop levels in the mask (bit 0 outermost) are at their first iteration; mask 0
    always overwrites, -1 always accumulates.
    """
    if mask < 0:
        return False
    return not any(i and mask >> level & 1 for level, i in enumerate(iterations))


def core_level_in(mask: int, levels: int) -> int | None:
    """The first of the `levels` core levels that an `overwrite` mask names, which it must not."""
    return next((level for level in range(levels) if mask > 0 and mask >> level & 1), None)
