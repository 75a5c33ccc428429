"""Which commands of different queues must not overtake each other: the analysis behind insert-sync.

A block's children are commands and loops; what a child does is a set of uses: a byte range of a
memory, read or written by a queue.  Two uses conflict when they overlap, one of them writes, and
their queues differ (a queue is in order by itself).  Per block this gives

    forward edges   (child i, queue p) -> (child j, queue q), i < j: within one execution
    carried edges   the same, i and j in any order, `distance` executions later

Forward edges are those of `order.py`, uses those of `uses.py`.  Carried edges follow from
buffers: one allocated in the block comes round again after `slots` executions, anything from
outside the block in the next iteration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from xdsl.ir import Block, Operation

from ...dialects.npu.commands import Command
from ...dialects.npu.operands import loop_trips
from ...dialects.npu.structure import AllocOp, CoresOp, LoopOp, ProgramOp
from .order import Edge, Finished, Forward, latest
from .uses import DramUse, Use, command_uses, reach, summary


@dataclass
class BlockPlan:
    """Children and edges of a block, and the plans of the loops in it by child index."""

    children: list[Operation]
    edges: list[Edge]
    loops: dict[int, BlockPlan]


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
    forward = Forward(cores)
    for child, child_uses in enumerate(uses):
        forward.add(child, child_uses, finished.get(child, {}))
    carried: list[Edge] = []
    if trips and not cores:
        carried = _reduce(list(_carried(uses, local, trips)), forward)
    return BlockPlan(children, forward.edges + carried, loops), summary(uses), forward.finished()


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
            yield from _overlapping(items, len(trips) - 1)
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


def _overlapping(items: list[tuple[int, Use]], level: int) -> Iterator[Edge]:
    """Edges to the next iteration of the loop at `level` among uses of parts of a buffer."""
    for source in items:
        for target in items:
            a, b = source[1], target[1]
            if a.low < b.high and b.low < a.high and not _elsewhere(a, b, level):
                yield from _between([source], [target], 1, False)


def _elsewhere(a: Use, b: Use, level: int) -> bool:
    """Whether both touch the same part of a buffer, and each iteration another one."""
    [first, *others] = {*a.parts, *b.parts}
    return not others and first.moves_on(level)


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
        ends = [*reach(a, axis, x.trips, level + 1), *reach(b, axis, y.trips, level + 1)]
        if rows[0] == rows[1] and abs(rows[0][level]) > max(ends) - min(ends):
            return True
    return False


def _reduce(edges: list[Edge], forward: Forward) -> list[Edge]:
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
