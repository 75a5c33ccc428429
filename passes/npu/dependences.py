"""The top level of a program as tasks with dependences: what schedule-commands works on.

    npu.load   (%w)            task 0   load 100
    npu.matmul (%x, %w, %s)    task 1   matrix 64     after 0 (load)
    npu.loop 4 { vrequant }    task 2   vector 320    after 1 (matrix)

A task is a command, or a hardware loop with all that is in it.  Two tasks depend on each other if
they touch the same bytes and one writes, be it on one queue or on two, in this core or another.
Linear in the uses: an interval map per memory holds who wrote each byte last and who has read it
since.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from xdsl.ir import Operation

from ...backends.targets.cycles import array_drain
from ...backends.targets.machine import Machine
from ...dialects.npu.commands import Command
from ...dialects.npu.isa import Queue
from ...dialects.npu.operands import buffer_of, loop_trips
from ...dialects.npu.structure import AllocOp, LoopOp, ProgramOp
from .traffic import command_cycles, executions, program_block
from .uses import Use, command_uses, summary


@dataclass
class Task:
    """A top-level operation: commands and cycles by queue, and the buffers that it uses.

    `latencies`: cycles before and after the work, in which the unit is free for others.

    `sources`: the tasks it must be issued after; `after`: per queue of the task, (task, its queue)
    whose results it waits for: those of another queue, as each queue is in order.  `ahead`: a load
    that nothing holds back, so that it can be issued long before it is needed.
    """

    op: Operation
    commands: dict[Queue, int] = field(default_factory=dict[Queue, int])
    cycles: dict[Queue, float] = field(default_factory=dict[Queue, float])
    latencies: dict[Queue, tuple[int, int]] = field(default_factory=dict[Queue, tuple[int, int]])
    buffers: list[AllocOp] = field(default_factory=list[AllocOp])
    after: dict[Queue, set[tuple[int, Queue]]] = field(
        default_factory=dict[Queue, set[tuple[int, Queue]]]
    )
    sources: set[int] = field(default_factory=set[int])
    ahead: bool = False


def tasks_of(program: ProgramOp, machine: Machine) -> list[Task]:
    """The tasks of a program in program order."""
    block = program_block(program)
    memories: dict[str, _Accesses] = {}
    tasks: list[Task] = []
    for op in block.ops:
        task, uses = Task(op), list[list[Use]]()
        for command in op.walk():
            if isinstance(command, Command):
                queue, times = command.queue, executions(command)
                spent = times * command_cycles(command, machine)
                task.commands[queue] = task.commands.get(queue, 0) + times
                task.cycles[queue] = task.cycles.get(queue, 0.0) + spent
                task.latencies[queue] = _latencies(command, machine)
                found = [buffer_of(value) for value in command.buffers]
                task.buffers += [b for b in found if isinstance(b, AllocOp)]
                inner = {b for b in found if isinstance(b.parent_op(), LoopOp)}
                touched = command_uses(command, loop_trips(command))
                uses.append([use for use in touched if use.buffer not in inner])
        if not task.commands:
            continue
        task.buffers = list(dict.fromkeys(task.buffers))
        task.after = {queue: set() for queue in task.commands}
        merged = summary(uses) if len(uses) > 1 else uses[0]
        for use in merged:
            memory = memories.setdefault(use.memory, _Accesses())
            found = memory.conflicts(use)
            task.sources |= {source for source, _ in found}
            task.after[use.queue] |= {s for s in found if s[1] is not use.queue}
        for use in sorted(merged, key=lambda u: not u.write):
            memories[use.memory].record(use, len(tasks))
        task.ahead = list(task.commands.items()) == [(Queue.LOAD, 1)] and not task.sources
        tasks.append(task)
    return tasks


def _latencies(command: Command, machine: Machine) -> tuple[int, int]:
    """Cycles before and after the work of a command, without preloads."""
    if command.instruction.mnemonic == "send":
        return 0, machine.network.latency
    match command.queue:
        case Queue.LOAD:
            return machine.dram.read_latency, 0
        case Queue.STORE:
            return 0, machine.dram.write_latency
        case Queue.MATRIX:
            return 0, array_drain(machine)
        case _:
            return 0, 0


Cell = tuple[frozenset[tuple[int, Queue]], frozenset[tuple[int, Queue]]]
"""Who wrote some bytes last (one task, perhaps by several queues), and who has read them since."""


class _Accesses:
    """Byte ranges of a memory, with the tasks that later ones must come after."""

    def __init__(self) -> None:
        self.starts: list[int] = [0]
        self.cells: list[Cell] = [(frozenset(), frozenset())]

    def _cut(self, at: int) -> int:
        """The cell that begins at `at`, made if there is none."""
        index = bisect_right(self.starts, at) - 1
        if self.starts[index] != at:
            index += 1
            self.starts.insert(index, at)
            self.cells.insert(index, self.cells[index - 1])
        return index

    def conflicts(self, use: Use) -> set[tuple[int, Queue]]:
        """The tasks that `use` must come after, and their queues."""
        first = bisect_right(self.starts, use.low) - 1
        found = set[tuple[int, Queue]]()
        for writers, readers in self.cells[first : bisect_left(self.starts, use.high)]:
            found |= readers | writers if use.write else writers
        return found

    def record(self, use: Use, task: int) -> None:
        """Note the use; a write comes after all that was there (writes of a task come first)."""
        first, last = self._cut(use.low), self._cut(use.high)
        me = frozenset({(task, use.queue)})
        starts, cells = list[int](), list[Cell]()
        for start, (writers, readers) in zip(
            self.starts[first:last], self.cells[first:last], strict=True
        ):
            if use.write:
                cell = (me | {w for w in writers if w[0] == task}, frozenset[tuple[int, Queue]]())
            else:
                cell = (writers, readers | me)
            if not cells or cells[-1] != cell:
                starts.append(start)
                cells.append(cell)
        self.starts[first:last], self.cells[first:last] = starts, cells
