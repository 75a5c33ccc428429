"""Edges between the children of one block, within one execution of it.

Forward edges are found with an interval map per memory (linear in the uses) and reduced by what
each queue knows to be finished through earlier edges (vector clocks).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from ...dialects.npu.isa import Queue
from .uses import Place, Use


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


Finished = dict[Queue, set[Queue]]
"""Per queue: those whose work in a block is done when this queue's work in it is."""


Clock = dict[tuple[Queue, bool], int]
"""The last child of each queue known to be finished: of the own core, or (True) of all cores."""


class Forward:
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
        """Add the next child: what it uses, and for a loop what its queues know when it is over."""
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

        Between cores, writes of one nest to one tensor (`where`) need no order: parts are disjoint.
        """
        first = bisect_right(self.starts, use.low) - 1
        for cell in self.cells[first : bisect_left(self.starts, use.high)]:
            for (queue, write, shared, where), child in cell.items():
                if not (write or use.write):
                    continue
                cross = self.cores and (shared or use.shared)
                if cross and write and use.write and where is not None and where == use.where:
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
        return self.cores and key[1] and key[3] is not None and key[3] == use.where
