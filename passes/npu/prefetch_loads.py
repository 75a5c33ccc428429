"""Load ahead: move loads up in the program to where the DMA would otherwise be idle.

    matmul  (layer 1)                 load    (weights of layer 2)
    vrequant                          matmul  (layer 1)
    load    (weights of layer 2)  ->  vrequant
    matmul  (layer 2)                 matmul  (layer 2)

The control processor issues in program order and waits at a full queue, so a load that stands
behind a long computation starts late.  Loads at the top level whose source no command of the
program writes (weights, inputs), and whose buffer nothing uses before, move up, in their order:
each to the place that is reached when the load queue has room again, by modelled cycles, and no
further than the scratchpad has room for its buffer from there on.  A place counts as reached when
its unit gets there, or when the control processor does, which runs ahead (and waits at a full load
queue): the better of both by the model of schedule-commands.  Buffers live longer; allocation comes
after.  Where banks are ranges of addresses nothing moves: loads would get into the banks that
the present layer works with.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation

from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError
from ...dialects.loop.structure import space_of
from ...dialects.npu.commands import Command
from ...dialects.npu.isa import Queue
from ...dialects.npu.operands import buffer_of, loop_trips
from ...dialects.npu.structure import AllocOp, DramOp, ProgramOp
from ..base import CompilerContext, Pass
from .allocate_scratchpad import arrange
from .dependences import Task, tasks_of
from .issue_model import Issue
from .traffic import command_cycles, executions, program_block
from .uses import command_uses

Floats = np.ndarray[Any, np.dtype[np.float64]]

MARGINS = (0.95, 0.85, 0.7, 0.5, 0.3)
"""Shares of the free scratchpad to count on, tried in turn: packing is not perfect."""

LOOKAHEAD = 24
"""Loads to keep queued at most: those inside loops, which do not move, queue up behind them."""


@dataclass(frozen=True)
class PrefetchLoadsPass(Pass):
    """Move loads of weights and inputs up to where the DMA would be idle."""

    name = "prefetch-loads"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Reorder the top level of every program."""
        if ctx.machine is None or ctx.machine.scratchpad.regions > 1 or not self.enable:
            return
        for program in module.ops:
            if isinstance(program, ProgramOp):
                prefetch(program, ctx.machine)


@dataclass
class Item:
    """A top-level operation: cycles it keeps each queue busy; the buffer it loads, if movable."""

    op: Operation
    cycles: dict[Queue, float]
    loads: AllocOp | None = None


def prefetch(program: ProgramOp, machine: Machine) -> None:
    """Reorder one program, as far as its buffers can then still be placed."""
    block = program_block(program)
    items = _items(program, machine)
    if not any(item.loads for item in items):
        return
    declared = [op for op in block.ops if isinstance(op, DramOp)]
    original = [*declared, *(op for op in block.ops if not isinstance(op, DramOp))]
    used, room = _room(items, machine)
    tasks = tasks_of(program, machine)
    for margin in MARGINS:
        reorder(program, original)
        found = [
            _places(items, used.copy(), room * margin, machine, clock)
            for clock in (_Units(), _Control(tasks, machine))
        ]
        _move(program, items, min(found, key=lambda places: _cycles(tasks, places, machine)))
        try:
            arrange(program, machine, search=False)
            return
        except CapacityError:
            continue
    reorder(program, original)


def reorder(program: ProgramOp, order: Sequence[Operation]) -> None:
    """Bring the top level into this order."""
    block = program_block(program)
    for op in order:
        op.detach()
    block.add_ops(order)


def _move(program: ProgramOp, items: Sequence[Item], places: Sequence[int | None]) -> None:
    """Put every load that moves, with its buffer, in front of its new successor."""
    block = program_block(program)
    successor = items[-1].op
    for i in reversed(_order(places)):
        item = items[i]
        if places[i] is None:
            successor = item.op
            continue
        for op in (item.op, item.loads):
            assert op is not None
            op.detach()
            block.insert_op_before(op, successor)
            successor = op


def _order(places: Sequence[int | None]) -> list[int]:
    """The items in their new order."""
    moved: list[list[int]] = [[] for _ in places]
    for i, place in enumerate(places):
        if place is not None:
            moved[place].append(i)
    return [
        j for i, place in enumerate(places) for j in (*moved[i], *([i] if place is None else []))
    ]


def _items(program: ProgramOp, machine: Machine) -> list[Item]:
    """The top level without declarations; what is written in DRAM makes loads immovable."""
    written = _Ranges()
    first: dict[Operation | Block, Operation] = {}  # what uses each buffer first
    items: list[Item] = []
    for op in program_block(program).ops:
        cycles: dict[Queue, float] = {}
        for command in op.walk():
            if isinstance(command, Command):
                for value in command.operands:
                    first.setdefault(value.owner, op)
                times = executions(command)
                spent = times * command_cycles(command, machine)
                cycles[command.queue] = cycles.get(command.queue, 0.0) + spent
                if command.queue is Queue.STORE:
                    written.add(command, loop_trips(command))
        if cycles:
            items.append(Item(op, cycles))
    written.merge()
    for item in items:
        op = item.op
        if isinstance(op, Command) and op.instruction.mnemonic == "load":
            buffer = buffer_of(op.buffers[1])
            if (
                isinstance(buffer, AllocOp)
                and buffer.address is None
                and not written.meets(op)
                and first[buffer] is op
                and _loaded_once(buffer)
            ):
                item.loads = buffer
    return items


def _loaded_once(buffer: AllocOp) -> bool:
    """Whether a single command writes `buffer` by DMA."""
    users = [u.operation for u in buffer.result.uses if isinstance(u.operation, Command)]
    return sum(user.instruction.mnemonic == "load" for user in users) == 1


class _Ranges:
    """DRAM that the program writes."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []

    def add(self, op: Command, trips: tuple[int, ...]) -> None:
        self.spans += [(u.low, u.high) for u in command_uses(op, trips) if u.memory == "dram"]

    def merge(self) -> None:
        """Sort the ranges and join those that overlap, when all are known."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted(self.spans):
            if merged and low <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(high, merged[-1][1])
            else:
                merged.append((low, high))
        self.spans = merged

    def meets(self, op: Command) -> bool:
        """Whether `op` touches a byte that is written (after `merge`)."""
        for use in command_uses(op, loop_trips(op)):
            index = bisect_right(self.spans, (use.high, -1)) - 1
            if use.memory == "dram" and index >= 0 and self.spans[index][1] > use.low:
                return True
        return False


def _room(items: Sequence[Item], machine: Machine) -> tuple[Floats, Floats]:
    """Per item: bytes of buffers alive that are still to be placed, and the room for them."""
    used, room = np.zeros(len(items)), np.full(len(items), float(machine.scratchpad.bytes))
    lives: dict[AllocOp, list[int]] = {}
    for i, item in enumerate(items):
        for op in item.op.walk():
            found = [buffer_of(v) for v in op.buffers] if isinstance(op, Command) else []
            for alloc in found:
                if isinstance(alloc, AllocOp) and space_of(alloc.result) == "spm":
                    lives.setdefault(alloc, [i, i])[1] = i
    for alloc, (first, last) in lives.items():
        span = slice(first, last + 1)
        if alloc.address is not None:
            room[span] = np.minimum(room[span], alloc.address.value.data)
        else:
            used[span] += alloc.slots.value.data * _aligned(alloc.bytes, machine)
    return used, room


def _aligned(size: int, machine: Machine) -> int:
    return -(-size // machine.alignment) * machine.alignment


class _Units:
    """When units get to items: each item starts when the last one has and its units are free."""

    margin = 0.0

    def __init__(self) -> None:
        self.free = dict.fromkeys(Queue, 0.0)
        self.now, self.dma, self.ready = 0.0, 0.0, 0.0

    def reach(self, item: Item) -> float:
        """The time of the next item."""
        now = max(self.now, *(self.free[q] for q in item.cycles))
        if item.loads is None:
            if Queue.LOAD in item.cycles:  # loads inside loops
                self.dma = max(self.dma, now) + item.cycles[Queue.LOAD]
            if Queue.MATRIX in item.cycles:
                now = max(now, min(self.ready, self.dma))
            self.now = now
        return now

    def issue(self, i: int, item: Item) -> None:
        """The present item, number `i`, is issued."""
        for queue, cycles in item.cycles.items():
            if queue is not Queue.LOAD:
                self.free[queue] = max(self.free[queue], self.now) + cycles
        if Queue.VECTOR in item.cycles:
            self.free[Queue.VECTOR] = max(self.free[Queue.VECTOR], self.free[Queue.MATRIX])

    def load(self, i: int, item: Item, begin: float) -> float:
        """When the present item's load, issued at `begin`, is done."""
        self.dma = max(self.dma, begin) + item.cycles[Queue.LOAD]
        self.ready = max(self.ready, self.dma)
        return self.dma


class _Control:
    """When the control processor gets to items."""

    def __init__(self, tasks: Sequence[Task], machine: Machine):
        self.model = Issue(tasks, machine, ahead=False)
        self.latency = self.margin = machine.dram.read_latency  # the model is a little early

    def reach(self, item: Item) -> float:
        """The time of the next item."""
        return self.model.control

    def issue(self, i: int, item: Item) -> None:
        """The present item, number `i`, is issued."""
        self.model.issue(i)

    def load(self, i: int, item: Item, begin: float) -> float:
        """When the present item's load, issued at `begin`, is done."""
        dma = max(self.model.free[Queue.LOAD], begin + self.latency) + item.cycles[Queue.LOAD]
        self.model.free[Queue.LOAD] = self.model.done[i, Queue.LOAD] = dma
        return dma


def _places(
    items: Sequence[Item], used: Floats, room: Floats, machine: Machine, clock: _Units | _Control
) -> list[int | None]:
    """For every load that moves, the item it goes in front of."""
    depth = min(max(machine.control.queue_depths["load"] - 1, 1), LOOKAHEAD)
    finished: deque[float] = deque([0.0] * depth, maxlen=depth)
    reached: list[float] = []
    floor = 0
    out: list[int | None] = []
    for i, item in enumerate(items):
        place: int | None = None
        reached.append(clock.reach(item))
        if item.loads is None:
            clock.issue(i, item)
        else:
            size = item.loads.slots.value.data * _aligned(item.loads.bytes, machine)
            full = np.flatnonzero(used[floor:i] + size > room[floor:i])
            earliest = floor + (int(full[-1]) + 1 if len(full) else 0)
            wanted = bisect_right(reached, finished[0] + clock.margin, 0, i) - 1
            floor = max(earliest, wanted, 0)
            finished.append(clock.load(i, item, reached[floor]))
            if floor < i:
                used[floor:i] += size
                place = floor
        out.append(place)
    return [*out[:-1], None]  # what stands last has no successor of its own


def _cycles(tasks: Sequence[Task], places: Sequence[int | None], machine: Machine) -> float:
    """Modelled cycles of the program with loads at `places`."""
    return Issue(tasks, machine, ahead=False).after(_order(places)).time


PASS = PrefetchLoadsPass
