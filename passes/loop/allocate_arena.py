"""`allocate-arena`: offsets in one arena for every buffer, and in one block for every constant.

    %a = loop.alloc : memref<1x8xi8, "dram">   ->   %a = loop.alloc {offset = 128 : i64} : ...

A buffer lives from the first operation that touches it (or an alias of it) to the last; inputs and
outputs live throughout, at the bottom.  Buffers that live at the same time must not overlap.
Offsets are chosen greedily, largest buffer first, longest-lived first, and in program order, each
at the lowest gap that fits among the buffers placed before that live at the same time ("greedy by
size": Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020); the
lowest plan is kept.

The function gets `arena_bytes`, `const_bytes`, `arg_offsets`, and `arena_lower_bound`: the most
bytes alive at once, below which no plan can go.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from ...dialects.loop import AllocOp, GlobalOp, NestOp, ReshapeOp, captured
from ...dialects.types import integer, ints
from ..base import CompilerContext, Pass, main_function
from .packing import align, assign_offsets, buffer_bytes

MAX_PAIRS = 2_000_000
"""Simultaneously living pairs beyond which buffers are placed in program order instead."""


@dataclass(frozen=True)
class Interval:
    """A buffer of `size` (aligned) bytes, alive from position `first` to `last`, inclusive."""

    first: int
    last: int
    size: int


def lifetimes(func: FuncOp) -> dict[AllocOp, Interval]:
    """Lifetime of each buffer, in positions of the operations of the block."""
    roots: dict[SSAValue, AllocOp] = {}
    spans: dict[AllocOp, tuple[int, int]] = {}
    for i, op in enumerate(func.body.block.ops):
        if isinstance(op, AllocOp):
            roots[op.result] = op
        elif isinstance(op, ReshapeOp):
            if op.x in roots:
                roots[op.result] = roots[op.x]
        elif not isinstance(op, GlobalOp):
            used = (*op.operands, *captured(op)) if isinstance(op, NestOp) else op.operands
            for value in used:
                if (root := roots.get(value)) is not None:
                    spans[root] = (spans[root][0] if root in spans else i, i)
    return {
        root: Interval(*spans.get(root, (0, -1)), align(buffer_bytes(root.result)))
        for value, root in roots.items()
        if root.result is value
    }


def lower_bound(intervals: Sequence[Interval]) -> int:
    """Most bytes alive at once."""
    events: list[tuple[int, int]] = []
    for x in intervals:
        if x.last >= x.first:
            events += [(x.first, x.size), (x.last + 1, -x.size)]
    live = peak = 0
    for _, change in sorted(events):
        live += change
        peak = max(peak, live)
    return peak


def _neighbours(intervals: Sequence[Interval]) -> list[list[int]] | None:
    """For each buffer those that live at the same time; None if there are too many pairs."""
    out: list[list[int]] = [[] for _ in intervals]
    live: list[tuple[int, int]] = []
    pairs = 0
    for i in sorted(range(len(intervals)), key=lambda i: (intervals[i].first, i)):
        while live and live[0][0] < intervals[i].first:
            heapq.heappop(live)
        pairs += len(live)
        if pairs > MAX_PAIRS:
            return None
        for _, j in live:
            out[i].append(j)
            out[j].append(i)
        heapq.heappush(live, (intervals[i].last, i))
    return out


def _greedy(
    intervals: Sequence[Interval], order: Sequence[int], neighbours: list[list[int]]
) -> list[int]:
    """Offsets, placing buffers in `order`, each in the lowest gap that fits."""
    offsets = [-1] * len(intervals)
    for i in order:
        taken = sorted((offsets[j], intervals[j].size) for j in neighbours[i] if offsets[j] >= 0)
        at = 0
        for start, size in taken:
            if start - at >= intervals[i].size:
                break
            at = max(at, start + size)
        offsets[i] = at
    return offsets


def _in_program_order(intervals: Sequence[Interval]) -> list[int]:
    """Offsets by best fit in program order: O(n log n) whatever the lifetimes."""
    offsets = [0] * len(intervals)
    by_start: list[tuple[int, int]] = []  # free gaps (start, size), below the top
    by_size: list[tuple[int, int]] = []  # the same as (size, start)
    ends: list[tuple[int, int]] = []
    top = 0

    def remove(start: int, size: int) -> None:
        del by_start[bisect_left(by_start, (start, size))]
        del by_size[bisect_left(by_size, (size, start))]

    def release(start: int, size: int) -> None:
        nonlocal top
        i = bisect_left(by_start, (start, 0))
        if i < len(by_start) and by_start[i][0] == start + size:
            size += by_start[i][1]
            remove(*by_start[i])
        if i and sum(by_start[i - 1]) == start:
            start, size = by_start[i - 1][0], size + by_start[i - 1][1]
            remove(*by_start[i - 1])
        if start + size == top:
            top = start
        else:
            insort(by_start, (start, size))
            insort(by_size, (size, start))

    for i in sorted(
        range(len(intervals)), key=lambda i: (intervals[i].first, -intervals[i].size, i)
    ):
        size = intervals[i].size
        if not size or intervals[i].last < intervals[i].first:
            continue
        while ends and ends[0][0] < intervals[i].first:
            done = heapq.heappop(ends)[1]
            release(offsets[done], intervals[done].size)
        found = bisect_left(by_size, (size, 0))
        if found < len(by_size):
            gap, start = by_size[found]
            remove(start, gap)
            if gap > size:
                insort(by_start, (start + size, gap - size))
                insort(by_size, (gap - size, start + size))
        else:
            start, top = top, top + size
        offsets[i] = start
        heapq.heappush(ends, (intervals[i].last, i))
    return offsets


def _by_size(x: Interval) -> tuple[int, int]:
    return -x.size, x.first


def _by_length(x: Interval) -> tuple[int, int]:
    return x.first - x.last, -x.size


def plan(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """(offset of each buffer, bytes of the whole); deterministic."""
    candidates = [_in_program_order(intervals)]
    if (neighbours := _neighbours(intervals)) is not None:
        for key in (_by_size, _by_length):
            order = sorted(range(len(intervals)), key=lambda i: (key(intervals[i]), i))
            candidates.append(_greedy(intervals, order, neighbours))

    def height(offsets: Sequence[int]) -> int:
        return max((o + x.size for o, x in zip(offsets, intervals, strict=True)), default=0)

    best = min(candidates, key=height)
    return best, height(best)


@dataclass(frozen=True)
class AllocateArenaPass(Pass):
    """Place every buffer in the arena and every constant in the constants block."""

    name = "allocate-arena"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Allocate @main."""
        func = main_function(module)
        base, arguments = 0, list[int]()
        for arg in func.body.block.args:
            arguments.append(base)
            base += align(buffer_bytes(arg))
        found = lifetimes(func)
        intervals = list(found.values())
        offsets, size = plan(intervals)
        for alloc, offset in zip(found, offsets, strict=True):
            alloc.offset = integer(base + offset)
        func.attributes["arg_offsets"] = ints(arguments)
        func.attributes["arena_bytes"] = integer(base + size)
        func.attributes["arena_lower_bound"] = integer(base + lower_bound(intervals))
        func.attributes["const_bytes"] = integer(assign_offsets(func, ctx.constants))


PASS = AllocateArenaPass
