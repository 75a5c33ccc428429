"""List scheduling: issue commands in an order that keeps all units at work.

    vmax, vsumexp, vexp   (softmax)              matmul     (projection)
    matmul, vrequant      (projection)    ->     vmax, vsumexp, vexp
    matmul                (reads both)           vrequant
                                                 matmul

Queues are in order and filled by one control processor that waits at a full one, so work that
could go on beside what is before it starts late if it is issued late.  A list scheduler (Graham
1966; critical path first, as in Gibbons and Muchnick, "Efficient instruction scheduling for a
pipelined architecture", 1986) issues the tasks of the top level anew: of those whose dependences
have been issued, within a window of the program, the one that could start first; of equals, the
one with the longest chain behind it.  What would start while the control processor waits for room
in that one's queue goes before it.  Several such orders are made (also with chains in which the
vector unit counts more, and with starts a little later allowed), and the best is taken part by
part.  Where the machine as modelled (`issue_model.py`) does not
gain enough, a part of the program keeps its order, and so does the whole if its buffers do not
fit any more.  Whole layers as loops leave nothing to gain: only where unroll-tiles works does this.
Before prefetch-loads, which moves loads of weights up further; once there are addresses, their
reuse is one more dependence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from ...backends.targets.cycles import array_drain
from ...backends.targets.machine import Machine
from ...dialects.errors import CapacityError
from ...dialects.loop.structure import space_of
from ...dialects.npu.isa import Queue
from ...dialects.npu.structure import ProgramOp
from ..base import CompilerContext, Pass
from ..loop.tiling.units import unrolls
from .allocate_scratchpad import arrange
from .dependences import Task, tasks_of
from .issue_model import Issue
from .prefetch_loads import reorder
from .traffic import program_block

WINDOW = 160
"""Tasks to look ahead in the program."""

MARGIN = 0.02
"""Share of its cycles that a part of the program must gain to be reordered."""

FOLLOWING = 32
"""Tasks behind such a part that its gain is measured at: what it leaves undone holds them up."""

CROWDED = 3.0
"""How many chains share a unit (heads of attention)."""

SHARES = (0.9, 0.6, 0.3)
"""Shares of the memories for buffers that are alive, tried in turn: packing is not perfect."""


@dataclass(frozen=True)
class ScheduleCommandsPass(Pass):
    """Reorder the commands of programs so that independent work of different units overlaps."""

    name = "schedule-commands"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Reorder the top level of every program, on machines whose tile loops are unrolled."""
        if ctx.machine is None or not unrolls(ctx.machine) or not self.enable:
            return
        for program in module.ops:
            if isinstance(program, ProgramOp):
                schedule(program, ctx.machine)


PASS = ScheduleCommandsPass


def schedule(program: ProgramOp, machine: Machine) -> None:
    """Reorder one program, as far as its buffers can then still be placed."""
    tasks = tasks_of(program, machine)
    original = list(program_block(program).ops)
    chains, crowded = _chains(tasks), _chains(tasks, {Queue.VECTOR: CROWDED})
    slack = [float(n * array_drain(machine)) for n in (0, 1, 2)]
    # program order, longest chain first, and the same where the vector unit holds up more than one
    rules = [([0.0] * len(tasks), 0.0), *((c, s) for c in (chains, crowded) for s in slack)]
    for share in SHARES:
        orders = [_list_order(tasks, machine, share, *rule) for rule in rules]
        order = _better(tasks, orders, machine)
        if order == list(range(len(tasks))):
            return
        arrange_tasks(program, tasks, order)
        try:
            arrange(program, machine, search=False)
            return
        except CapacityError:
            reorder(program, original)


def arrange_tasks(program: ProgramOp, tasks: Sequence[Task], order: Sequence[int]) -> None:
    """Bring the tasks into this order, buffers right before what uses them first."""
    block = program_block(program)
    moved = [(*tasks[i].buffers, tasks[i].op) for i in order]
    ops = dict.fromkeys(op for ops in moved for op in ops if op.parent is block)
    reorder(program, [*(op for op in block.ops if op not in ops), *ops])


# --- which order ---


def _list_order(
    tasks: Sequence[Task],
    machine: Machine,
    share: float,
    priorities: Sequence[float],
    slack: float,
) -> list[int]:
    """All tasks in the order of a list schedule; loads ahead just before their first use.

    `slack`: cycles by which a task of higher priority may start later than the first one.
    """
    users: list[list[int]] = [[] for _ in tasks]
    waiting: list[int] = []
    loads: list[list[int]] = [[] for _ in tasks]  # loads ahead that a task depends on
    for i, task in enumerate(tasks):
        sources = task.sources
        loads[i] = sorted(s for s in sources if tasks[s].ahead)
        sources = {s for s in sources if not tasks[s].ahead}
        for source in sources:
            users[source].append(i)
        waiting.append(len(sources))
    memory = _Memory(tasks, machine, share)
    model = Issue(tasks, machine)
    rest = [i for i, task in enumerate(tasks) if not task.ahead]
    ready = [i for i in rest[:WINDOW] if not waiting[i]]
    position = {i: n for n, i in enumerate(rest)}
    seen, oldest, issued = min(WINDOW, len(rest)), 0, [False] * len(tasks)
    out: list[int] = []
    while ready:
        fitting = [i for i in ready if memory.fits(i)] or [min(ready)]
        starts = {i: model.start(i, loads[i]) for i in fitting}
        latest = min(starts.values()) + slack
        soon = [i for i in fitting if starts[i] <= latest]
        chosen = min(soon, key=lambda i: (starts[i] * (not slack), -priorities[i], i))
        # what would start while the control processor waits for room in the queue goes first
        held, used = model.held(chosen, starts[chosen]), set(tasks[chosen].cycles)
        before = [
            i
            for i in fitting
            if starts[i] < held
            and not used & set(tasks[i].cycles)
            and model.held(i, starts[i]) <= max(starts[chosen], model.control)
        ]
        if before:
            chosen = min(before, key=lambda i: (starts[i], -priorities[i], i))
        ready.remove(chosen)
        for i in (*(load for load in loads[chosen] if not issued[load]), chosen):
            out.append(i)
            issued[i] = True
            model.issue(i)
            memory.use(i)
        for user in users[chosen]:
            waiting[user] -= 1
            if not waiting[user] and position[user] < seen:
                ready.append(user)
        while oldest < len(rest) and issued[rest[oldest]]:
            oldest += 1
        while seen < min(oldest + WINDOW, len(rest)):
            if not waiting[rest[seen]]:
                ready.append(rest[seen])
            seen += 1
    out += [i for i in range(len(tasks)) if not issued[i]]  # loads that nothing uses
    return out


def _chains(tasks: Sequence[Task], weights: Mapping[Queue, float] | None = None) -> list[float]:
    """Per task, the cycles of the longest chain of dependences from its start on.

    `weights`: how often cycles of a queue count, of which other chains have as many.
    """
    weights = weights or {}
    behind = [0.0] * len(tasks)  # of what comes after it, until its own is added
    for i in reversed(range(len(tasks))):
        task = tasks[i]
        work = max(cycles * weights.get(queue, 1) for queue, cycles in task.cycles.items())
        behind[i] += work
        for source in task.sources:
            behind[source] = max(behind[source], behind[i])
        for queue, sources in task.after.items():
            for source, other in sources:
                latency = tasks[source].latencies[other][1] + task.latencies[queue][0]
                behind[source] = max(behind[source], behind[i] + latency)
    return behind


def _better(tasks: Sequence[Task], orders: Sequence[Sequence[int]], machine: Machine) -> list[int]:
    """The best of `orders`, part by part: program order, unless another gains enough over it.

    A part is as short as it can be: what comes before it does in every order.
    """
    model, out = Issue(tasks, machine), list[int]()
    highest = [-1] * len(orders)
    for n in range(len(tasks)):
        highest = [max(h, order[n]) for h, order in zip(highest, orders, strict=True)]
        if max(highest) > n:
            continue
        part = range(len(out), n + 1)
        found = {tuple(order[part.start : part.stop]) for order in orders} - {tuple(part)}
        if found:
            rest = range(n + 1, min(n + 1 + FOLLOWING, len(tasks)))
            times = {order: model.after(order).after(rest).time for order in sorted(found)}
            best = min(times, key=lambda order: times[order])
            usual = model.after(part)
            if usual.after(rest).time - times[best] > MARGIN * (usual.time - model.time):
                part = best
        model = model.after(part)
        out += part
    return out


class _Memory:
    """Bytes of buffers alive as tasks are issued, and whether there is room for another task's."""

    def __init__(self, tasks: Sequence[Task], machine: Machine, share: float):
        self.tasks = tasks
        self.left = Counter(buffer for task in tasks for buffer in task.buffers)  # tasks to come
        self.new = set(self.left)  # not yet alive
        self.size = {
            buffer: buffer.slots.value.data * -(-buffer.bytes // machine.alignment)
            for buffer in self.left
        }  # in units of the alignment
        self.free = {
            "spm": machine.scratchpad.bytes * share // machine.alignment,
            "acc": machine.accumulator.bytes * share // machine.alignment,
        }

    def fits(self, i: int) -> bool:
        """Whether there is room for the buffers that task `i` is the first to use."""
        needed = dict[str, int]()
        for buffer in self.tasks[i].buffers:
            if buffer in self.new:
                space = space_of(buffer.result)
                needed[space] = needed.get(space, 0) + self.size[buffer]
        return all(size <= self.free[space] for space, size in needed.items())

    def use(self, i: int) -> None:
        """Issue task `i`: its buffers live from the first to the last task that uses them."""
        for buffer in self.tasks[i].buffers:
            space, size = space_of(buffer.result), self.size[buffer]
            if buffer in self.new:
                self.new.remove(buffer)
                self.free[space] -= size
            self.left[buffer] -= 1
            if not self.left[buffer]:
                self.free[space] += size
