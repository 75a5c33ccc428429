"""Which commands of different queues must not overtake each other: the analysis behind insert-sync.

A block's children are commands and loops; what a child does is a set of uses: a byte range of a
memory, read or written by a queue.  Two uses conflict when they overlap, one of them writes, and
their queues differ (a queue is in order by itself).  Per block this gives

    forward edges   (child i, queue p) -> (child j, queue q), i < j: within one execution
    carried edges   the same, i and j in any order, `distance` executions later

Forward edges are found with an interval map per memory (linear in the uses) and reduced by what
each queue knows to be finished through earlier edges (vector clocks).  Carried edges follow from
buffers: one allocated in the block comes round again after `slots` executions, anything from
outside the block in the next iteration.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Attribute, Block, Operation

from ...dialects.loop.structure import space_of
from ...dialects.npu.attributes import AccessAttr, TensorMapAttr
from ...dialects.npu.commands import Command
from ...dialects.npu.descriptors import TensorBox, byte_span
from ...dialects.npu.isa import OperandSpec, Queue, spreads
from ...dialects.npu.operands import (
    buffer_of,
    cores_of,
    element_bytes,
    loop_trips,
    slot_stride,
    tensor_box,
)
from ...dialects.npu.structure import AllocOp, CoresOp, LoopOp, ProgramOp


@dataclass(frozen=True)
class DramUse:
    """A tensor box and the counts of the loops around its command."""

    box: TensorBox
    trips: tuple[int, ...]


Place = tuple[LocationAttr, Operation]
"""The nest that a use is part of, by location, and the tensor, as nests of one node share that."""


@dataclass
class Use:
    """A queue reading or writing bytes [low, high) of a memory; `buffer` is None for DRAM.

    `shared`: other cores see the same bytes (DRAM), or have them written as well (broadcasts).
    `where`: the tensor and the nest that the use is part of, if cores share it.
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


@dataclass(frozen=True)
class Edge:
    """`producer`'s part of child `source` completes before `consumer`'s of child `target` starts.

    `distance` 0: in the same execution of the block; else that many executions later: counted over
    all enclosing loops if `through`, else over the innermost one only.  `cross`: the part of the
    producer in every core.
    """

    source: int
    producer: Queue
    target: int
    consumer: Queue
    distance: int = 0
    through: bool = False
    cross: bool = False


@dataclass
class BlockPlan:
    """Children and edges of a block, and the plans of the loops in it by child index."""

    children: list[Operation]
    edges: list[Edge]
    loops: dict[int, BlockPlan]


Finished = dict[Queue, set[Queue]]
"""Per queue: those whose work in a block is done when this queue's work in it is."""


def plan_program(program: ProgramOp) -> BlockPlan:
    """Edges of a whole program, between cores as well."""
    level = next((op for op in program.body.block.ops if isinstance(op, CoresOp)), None)
    if level is None:
        return plan_block(program.body.block)[0]
    return plan_block(level.body.block, level.grid, cores=True)[0]


def plan_block(
    block: Block, trips: tuple[int, ...] = (), *, cores: bool = False
) -> tuple[BlockPlan, list[Use], Finished]:
    """Edges of `block` (inside loops of `trips`) and all it contains; what it uses as a whole.

    `cores`: it is the core level, whose iterations run side by side.  Cores meet there only: within
    a loop they work on parts of their own.
    """
    children: list[Operation] = []
    uses: list[list[Use]] = []
    loops: dict[int, BlockPlan] = {}
    finished: dict[int, Finished] = {}
    local: set[AllocOp] = set()
    for op in block.ops:
        if isinstance(op, AllocOp):
            local.add(op)
        elif isinstance(op, Command):
            children.append(op)
            uses.append(command_uses(op, trips))
        elif isinstance(op, LoopOp):
            plan, inner, done = plan_block(op.body.block, (*trips, op.count.value.data))
            loops[len(children)], finished[len(children)] = plan, done
            children.append(op)
            uses.append(inner)
    forward = _Forward(cores)
    for child, child_uses in enumerate(uses):
        forward.add(child, child_uses, finished.get(child, {}))
    carried: list[Edge] = []
    if trips and not cores:
        carried = _reduce(list(_carried(uses, local, trips)), forward)
    return BlockPlan(children, forward.edges + carried, loops), _summary(uses), forward.finished()


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
            stride, (begin, size) = slot_stride(buffer), _part(buffer, access, row, params, trips)
            starts = [i * stride for i in range(buffer.slots.value.data)]
            if buffer.address is None:
                memory, low = (
                    f"{space} {id(buffer)}",
                    0,
                )  # its own memory; never printed or ordered by
            else:
                memory, low = space, buffer.address.value.data
            low += begin
            spans, boxes, alloc = [(low + s, low + s + size) for s in starts], [], buffer
        else:
            assert isinstance(access, TensorMapAttr)
            box = tensor_box(access, buffer.address.value.data)
            memory, spans = space, [dram_range(box, trips, element_bytes(row, params))]
            boxes, alloc = [DramUse(box, trips)], None
        uses += [
            Use(memory, low, high, op.queue, d == "w", alloc, shared, where, boxes)
            for low, high in spans
            for d in row.direction
            if low < high
        ]
    return uses


def _part(
    buffer: AllocOp, access: Attribute, row: OperandSpec, params: Mapping[str, int],
    trips: tuple[int, ...],
) -> tuple[int, int]:  # fmt: skip
    """(first byte, number of bytes) of a buffer that a command touches in any iteration.

    Of a buffer that is fresh in each iteration of a loop, all of it: iterations are what counts.
    """
    looped = isinstance(buffer.parent_op(), LoopOp)
    if looped or not isinstance(access, AccessAttr):
        return 0, buffer.bytes
    low, high = byte_span(access.dims, element_bytes(row, params))
    for stride, count in zip(access.loop_strides, trips, strict=False):
        low, high = low + min(stride * (count - 1), 0), high + max(stride * (count - 1), 0)
    return access.base.data + low, high - low


def dram_range(box: TensorBox, trips: Sequence[int], element: int) -> tuple[int, int]:
    """Bytes [low, high) that a box can touch in any iteration; empty if it is always outside."""
    low = high = box.base
    for axis, extent in enumerate(box.extents):
        first, last = _reach(box, axis, trips, 0)
        first, last = max(first, 0), min(last, extent - 1)
        if first > last:
            return 0, 0
        ends = sorted((first * box.strides[axis], last * box.strides[axis]))
        low, high = low + ends[0], high + ends[1]
    return low, high + element


def _reach(box: TensorBox, axis: int, trips: Sequence[int], outer: int) -> tuple[int, int]:
    """Least and greatest coordinate on `axis`, loops outside level `outer` at iteration 0."""
    moves = [(box.box[axis] - 1) * box.steps[axis]]
    moves += [s * (n - 1) for s, n in list(zip(box.loops[axis], trips, strict=False))[outer:]]
    start = box.start[axis]
    return start + sum(m for m in moves if m < 0), start + sum(m for m in moves if m > 0)


def _summary(uses: list[list[Use]]) -> list[Use]:
    """One use per range, queue and direction."""
    merged: dict[tuple[object, ...], Use] = {}
    for use in (u for child in uses for u in child):
        key = (
            use.memory,
            use.low,
            use.high,
            use.queue,
            use.write,
            use.buffer,
            use.shared,
            use.where,
        )
        if key in merged:
            merged[key].boxes.extend(use.boxes)
        else:
            merged[key] = replace(use, boxes=list(use.boxes))
    return list(merged.values())


Clock = dict[tuple[Queue, bool], int]
"""The last child of each queue known to be finished: of the own core, or (True) of all cores."""


class _Forward:
    """Forward edges of one block, child by child.

    `before` and `after`: what a queue knows when it starts and when it has completed a child.
    """

    def __init__(self, cores: bool = False) -> None:
        self.cores = cores
        self.memories: dict[str, _Intervals] = {}
        self.clocks: dict[Queue, Clock] = {}
        self.before: dict[tuple[int, Queue], Clock] = {}
        self.after: dict[tuple[int, Queue], Clock] = {}
        self.last: dict[Queue, int] = {}
        self.edges: list[Edge] = []

    def add(self, child: int, uses: list[Use], done: Finished) -> None:
        needs: dict[Queue, Clock] = {}
        for use in uses:
            memory = self.memories.setdefault(use.memory, _Intervals(self.cores))
            memory.conflicts(use, needs.setdefault(use.queue, {}))
        for use in sorted(uses, key=lambda u: not u.write):
            self.memories[use.memory].record(use, child)
        for queue, sources in needs.items():
            clock = self.clocks.get(queue, {})
            for (producer, cross), source in sorted(sources.items(), key=lambda item: -item[1]):
                if _knows(clock, producer, source, cross):
                    continue
                self.edges.append(Edge(source, producer, child, queue, cross=cross))
                learnt = self.after[source, producer]
                if cross:  # what each core's producer knew of its own core holds for all cores
                    learnt = {
                        (q, True): max(learnt.get((q, x), -1) for x in (False, True))
                        for q, _ in learnt
                    }
                clock = _later(clock, {**learnt, (producer, cross): source})
            self.before[child, queue] = clock
            clock = clock | {(q, False): child for q in done.get(queue, ())}
            self.after[child, queue] = self.clocks[queue] = clock
            self.last[queue] = child

    def finished(self) -> Finished:
        """Per queue, those it knows to have finished their last child when it has."""
        return {
            queue: {other for other, child in self.last.items() if _knows(clock, other, child)}
            for queue, clock in self.clocks.items()
        }


def _knows(clock: Clock, queue: Queue, child: int, cross: bool = False) -> bool:
    return latest(clock, queue, cross) >= child


def latest(clock: Clock, queue: Queue, cross: bool = False) -> int:
    """The last child of `queue` known to be finished (in all cores, if `cross`); -1 for none."""
    known = clock.get((queue, True), -1)
    return known if cross else max(known, clock.get((queue, False), -1))


def _later(one: Clock, other: Clock) -> Clock:
    return {q: max(one.get(q, -1), other.get(q, -1)) for q in (*one, *other)}


Cell = dict[tuple[Queue, bool, bool, Place | None], int]
"""Last child by queue, whether it wrote, whether other cores were concerned, and what it is of."""


class _Intervals:
    """Byte ranges of a memory with the last child of each queue that wrote or read them."""

    def __init__(self, cores: bool = False) -> None:
        self.cores = cores
        self.starts: list[int] = [0]
        self.cells: list[Cell] = [{}]

    def _cut(self, at: int) -> None:
        index = bisect_right(self.starts, at) - 1
        if self.starts[index] != at:
            self.starts.insert(index + 1, at)
            self.cells.insert(index + 1, dict(self.cells[index]))

    def conflicts(self, use: Use, needs: Clock) -> None:
        """Add to `needs`, per queue, the last child that `use` must wait for.

        Between cores, parts of one tensor made by one nest never overlap.
        """
        first = bisect_right(self.starts, use.low) - 1
        for cell in self.cells[first : bisect_left(self.starts, use.high)]:
            for (queue, write, shared, where), child in cell.items():
                if not (write or use.write):
                    continue
                cross = self.cores and (shared or use.shared)
                if cross and write and use.write and where == use.where:
                    cross = False
                if cross or queue is not use.queue:
                    key = queue, cross
                    needs[key] = max(needs.get(key, -1), child)

    def record(self, use: Use, child: int) -> None:
        """Note the use; a write makes older uses superfluous, as it comes after them itself.

        On several cores only one that all cores see: what a core writes to its own scratchpad comes
        after what that core has done there, while others may still work on the bytes before.
        """
        self._cut(use.low)
        self._cut(use.high)
        first, last = bisect_left(self.starts, use.low), bisect_left(self.starts, use.high)
        key = use.queue, use.write, self.cores and use.shared, use.where if self.cores else None
        starts: list[int] = []
        cells: list[Cell] = []
        for start, cell in zip(self.starts[first:last], self.cells[first:last], strict=True):
            new = dict(cell)
            if use.write and (use.shared or not self.cores):
                new = {k: c for k, c in cell.items() if c == child or self._kept(k, use)}
            new[key] = child
            if not cells or cells[-1] != new:
                starts.append(start)
                cells.append(new)
        self.starts[first:last], self.cells[first:last] = starts, cells

    def _kept(self, key: tuple[Queue, bool, bool, Place | None], use: Use) -> bool:
        """Whether an older use still matters behind a write that did not wait for it."""
        return self.cores and key[1] and key[3] == use.where


def _carried(uses: list[list[Use]], local: set[AllocOp], trips: tuple[int, ...]) -> Iterator[Edge]:
    """Edges between executions of a loop body, unreduced."""
    buffers: dict[AllocOp, list[tuple[int, Use]]] = {}
    dram: list[tuple[int, Use]] = []
    for child, child_uses in enumerate(uses):
        for use in child_uses:
            if use.buffer is None:
                dram.append((child, use))
            else:
                buffers.setdefault(use.buffer, []).append((child, use))
    for buffer, items in buffers.items():
        if buffer in local:
            yield from _between(
                _from_last_write(items), _to_first_write(items), buffer.slots.value.data, True
            )
        elif trips[-1] > 1 and _is_outside(buffer, len(trips)):
            yield from _overlapping(items)
    if trips[-1] > 1:
        level = len(trips) - 1
        for source in dram:
            for target in dram:
                a, b = source[1], target[1]
                if a.low < b.high and b.low < a.high and not _disjoint(a, b, level):
                    yield from _between([source], [target], 1, False)


def _is_outside(buffer: AllocOp, depth: int) -> bool:
    """Whether `buffer` belongs to fewer than `depth` loops (those inside care for their own)."""
    return len(loop_trips(buffer)) < depth


def _between(
    sources: list[tuple[int, Use]], targets: list[tuple[int, Use]], distance: int, through: bool
) -> Iterator[Edge]:
    for i, a in sources:
        for j, b in targets:
            if a.queue is not b.queue and (a.write or b.write):
                yield Edge(i, a.queue, j, b.queue, distance, through)


def _overlapping(items: list[tuple[int, Use]]) -> Iterator[Edge]:
    """Edges to the next iteration among uses that may touch parts of a buffer only."""
    for source in items:
        for target in items:
            a, b = source[1], target[1]
            if a.low < b.high and b.low < a.high:
                yield from _between([source], [target], 1, False)


def _from_last_write(items: list[tuple[int, Use]]) -> list[tuple[int, Use]]:
    """Uses from the last writing child on: earlier ones come before it in the same execution."""
    last = max((child for child, use in items if use.write), default=-1)
    return [(child, use) for child, use in items if child >= last]


def _to_first_write(items: list[tuple[int, Use]]) -> list[tuple[int, Use]]:
    """Uses up to the first writing child: later ones come after it in the same execution."""
    first = min((child for child, use in items if use.write), default=len(items) and items[-1][0])
    return [(child, use) for child, use in items if child <= first]


def _disjoint(a: Use, b: Use, level: int) -> bool:
    """Whether no byte is touched by both in different iterations of the loop at `level`."""
    return all(_boxes_disjoint(x, y, level) for x in a.boxes for y in b.boxes)


def _boxes_disjoint(x: DramUse, y: DramUse, level: int) -> bool:
    """Proof: same tensor, and on one axis both boxes move on by more than they cover together."""
    a, b = x.box, y.box
    if (a.base, a.extents, a.strides) != (b.base, b.extents, b.strides):
        return False
    order = sorted(range(len(a.extents)), key=lambda d: (a.strides[d], a.extents[d]))
    for inner, outer in pairwise(order):  # distinct coordinates, distinct bytes
        if a.strides[outer] < a.strides[inner] * a.extents[inner] and a.extents[outer] > 1:
            return False
    for axis in range(len(a.extents)):
        rows = [(*box.loops[axis], *[0] * (level + 1))[: level + 1] for box in (a, b)]
        ends = [*_reach(a, axis, x.trips, level + 1), *_reach(b, axis, y.trips, level + 1)]
        if rows[0] == rows[1] and abs(rows[0][level]) > max(ends) - min(ends):
            return True
    return False


def _reduce(edges: list[Edge], forward: _Forward) -> list[Edge]:
    """Carried edges that do not follow from the others and the forward edges."""

    def implied(a: Edge, b: Edge) -> bool:
        source = (
            b.source
            if a.producer is b.producer
            else latest(forward.after[b.source, b.producer], a.producer)
        )
        target = (
            a.target
            if a.consumer is b.consumer
            else latest(forward.before[a.target, a.consumer], b.consumer)
        )
        return (
            a.source <= source
            and b.target <= target
            and b.distance <= a.distance
            and (b.through or not a.through)
        )

    kept = list(dict.fromkeys(edges))
    for edge in list(kept):
        if any(other is not edge and implied(edge, other) for other in kept):
            kept.remove(edge)
    return kept
