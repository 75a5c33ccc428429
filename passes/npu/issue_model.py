"""When tasks run that are issued in some order: the machine as schedule-commands sees it.

Of `docs/timing.md` it has the control processor that waits at a full queue, queues in order, what a
unit takes, what a result takes on its way, and loads ahead, which the DMA does as early as it can
(prefetch-loads will move them up) or when they are issued.  Not: fetching, banks, shared bandwidth,
preloads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from copy import copy

from ...backends.targets.machine import Machine
from ...dialects.npu.isa import Queue
from .dependences import Task

STAGES = (Queue.LOAD, Queue.MATRIX, Queue.VECTOR, Queue.STORE)
"""The order in which data mostly go through the units within a loop."""


class Issue:
    """The state of the machine after some tasks have been issued.

    `ahead`: whether loads that nothing holds back are done as early as the DMA can.
    """

    def __init__(self, tasks: Sequence[Task], machine: Machine, ahead: bool = True):
        self.tasks, self.ahead = tasks, ahead
        self.control = 0.0
        self.time = 0.0
        self.free = dict.fromkeys(Queue, 0.0)
        self.done: dict[tuple[int, Queue], float] = {}
        depths = machine.control.queue_depths
        self.entries = {q: deque([0.0] * depths[q.value], depths[q.value]) for q in STAGES}

    def start(self, i: int, loads: Iterable[int]) -> float:
        """When task `i` would start to work if it, and loads ahead for it, were issued now."""
        task, begin = self.tasks[i], self.control
        dma = self.free[Queue.LOAD]
        for load in loads:
            if (load, Queue.LOAD) not in self.done:
                dma += self.tasks[load].cycles[Queue.LOAD]
                begin = max(begin, dma)
        for sources in task.after.values():
            for source in sources:
                begin = max(begin, self.done.get(source, 0.0))
        first = next(q for q in STAGES if q in task.cycles)
        return max(begin + task.latencies[first][0], self.free[first])

    def held(self, i: int, start: float) -> float:
        """When the control processor is free again if task `i` is next, which starts at `start`."""
        task, out = self.tasks[i], self.control
        for queue, cycles in task.cycles.items():
            entries, count = self.entries[queue], task.commands[queue]
            out = max(out, entries[min(count, len(entries)) - 1])
            if count > len(entries):
                out = max(out, start + cycles * (1 - len(entries) / count))
        return out

    def issue(self, i: int) -> None:
        """Issue task `i`."""
        task = self.tasks[i]
        if task.ahead and self.ahead:
            self.free[Queue.LOAD] += task.cycles[Queue.LOAD]
            self.done[i, Queue.LOAD] = self.free[Queue.LOAD]
            return
        issued, done = self.control, 0.0
        for queue in STAGES:
            cycles = task.cycles.get(queue)
            if cycles is None:
                continue
            entries, count = self.entries[queue], task.commands[queue]
            room = entries[min(count, len(entries)) - 1]
            ready = max((self.done.get(s, 0.0) for s in task.after[queue]), default=0.0)
            before, after = task.latencies[queue]
            begin = max(self.free[queue], max(issued, ready) + before)
            end = max(begin + cycles, done)  # a later stage ends no earlier
            done = end + after
            self.free[queue], self.done[i, queue] = end, done
            kept = min(count, len(entries))
            step = cycles / count
            if count > len(entries):
                room = max(room, end - step * len(entries))
            entries.extend(done - step * n for n in reversed(range(kept)))
            self.control = max(self.control, room)
            self.time = max(self.time, done)

    def after(self, order: Iterable[int]) -> Issue:
        """The state after these tasks have been issued as well.

        All states made of one share `done`: that of the order issued last.
        """
        out = copy(self)
        out.free = dict(self.free)
        out.entries = {q: e.copy() for q, e in self.entries.items()}
        for i in order:
            out.issue(i)
        return out
