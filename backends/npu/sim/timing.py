"""Event-driven timing: when every command is issued, accepted, works and completes.

The control processor issues commands in program order into four queues; an entry is held until its
command completes, so a full queue stops issue for all.  A unit accepts the head of its queue when
it has been issued and all its semaphores are there, then runs the phases of `costs.Cost`:

    issue ─▶ accept (semaphores taken) ─▶ before ─▶ start ═work═▶ end ─▶ after ─▶ complete (signals)

Commands that work at the same time share DRAM bandwidth and memory banks: while a resource is
oversubscribed all its users slow down in proportion.  Rates change only when a command starts or
ends, so time advances from event to event and the cost is linear in commands.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from ....dialects.errors import SimulationError
from ....dialects.npu.isa import QUEUES
from ...targets.machine import Machine
from .commands import Commands
from .costs import Cost
from .sharing import DRAM, Sharing, Unit

LOAD, STORE, MATRIX, VECTOR = range(4)
_END, _DONE, _TRY, _START = range(4)  # order of events within a cycle


@dataclass
class Schedule:
    """Cycle of each event per command, in program order; `order` lists commands as accepted.

    `ready`: control was ready to issue it (`issue` - `ready` is a full queue).  `before`: preload
    or latency actually paid.  `cause`: queue whose signal let it go, -1 for none.  `bank` and
    `dram`: cycles of work lost to other units.
    """

    ready: list[int]
    issue: list[int]
    accept: list[int]
    start: list[int]
    end: list[int]
    complete: list[int]
    cause: list[int]
    bank: list[int]
    dram: list[int]
    order: list[int]
    control_end: int
    cycles: int


class Engine:
    """One simulation in time; `run()` once."""

    def __init__(self, commands: Commands, machine: Machine, semaphores: tuple[int, ...]):
        self.c, self.machine = commands, machine
        self.counts = list(semaphores)
        self.waiters: list[list[int]] = [[] for _ in semaphores]
        self.depths = [machine.control.queue_depths[q.value] for q in QUEUES]
        self.windows = (machine.dram.outstanding_reads, machine.dram.outstanding_writes)
        self.units = [Unit() for _ in QUEUES]
        self.sharing = Sharing(self.units, commands.cost, machine)
        self.heap: list[tuple[int, int, int, int]] = []
        self.next = 0
        self.control_time = 0
        self.resident: object = None
        self.resident_range = (0, 0)
        self.preload = 0
        n = len(commands)
        self.s = Schedule(
            [0] * n,
            [0] * n,
            [-1] * n,
            [0] * n,
            [0] * n,
            [-1] * n,
            [-1] * n,
            [0] * n,
            [0] * n,
            [],
            0,
            0,
        )

    def run(self) -> Schedule:
        """The schedule; SimulationError on deadlock is left to the caller (`stuck`)."""
        self._issue()
        heap, units = self.heap, self.units
        while heap:
            now, kind, u, tag = heapq.heappop(heap)
            unit = units[u]
            if kind == _END:
                if tag == unit.version and unit.active >= 0:
                    self._end(u, unit, now)
            elif kind == _DONE:
                self._complete(u, tag, now)
            elif kind == _TRY:
                self._try(u, unit, now)
            elif unit.planned == tag:
                unit.planned = -1
                self._begin(u, unit, now)
        s = self.s
        s.control_end = self.control_time + self.c.tail
        s.cycles = max([s.control_end, *(u.completions[-1] for u in units if u.completions)])
        return s

    @property
    def stuck(self) -> bool:
        """Whether commands remain that nothing can wake."""
        return self.next < len(self.c) or any(u.completed < len(u.commands) for u in self.units)

    # --- control processor ---

    def _issue(self) -> None:
        """Issue until a queue is full; a freed entry calls again."""
        c, s, n = self.c, self.s, len(self.c)
        while self.next < n:
            i = self.next
            u = c.queue[i]
            unit, depth = self.units[u], self.depths[u]
            ready = self.control_time + c.control[i]
            s.ready[i] = ready
            over = len(unit.commands) - depth
            if over >= unit.completed:
                return
            when = max(ready, unit.completions[over]) if over >= 0 else ready
            s.issue[i] = self.control_time = when
            unit.commands.append(i)
            self.next = i + 1
            if unit.accepted == len(unit.commands) - 1:
                heapq.heappush(self.heap, (when, _TRY, u, i))

    # --- accepting ---

    def _try(self, u: int, unit: Unit, now: int) -> None:
        """Accept as many commands of unit `u` as can go now."""
        c, s, counts = self.c, self.s, self.counts
        while unit.accepted < len(unit.commands):
            i = unit.commands[unit.accepted]
            if s.issue[i] > now or (unit.blocked >= 0 and not counts[unit.blocked]):
                return
            sync = c.sync[i]
            if sync:
                if unit.completed < unit.accepted:
                    return
            elif u == VECTOR:
                if unit.active >= 0:
                    return
            elif u != LOAD and unit.pending:
                return
            waits = c.waits[i]
            for w in waits:
                counts[w] -= 1
            short = [w for w in waits if counts[w] < 0]
            if short:
                for w in waits:
                    counts[w] += 1
                if unit.blocked != short[0]:
                    unit.blocked = short[0]
                    self.waiters[unit.blocked].append(u)
                return
            unit.blocked = -1
            s.accept[i] = now
            s.order.append(i)
            unit.accepted += 1
            nxt = unit.accepted
            if nxt < len(unit.commands) and s.issue[unit.commands[nxt]] > now:
                heapq.heappush(self.heap, (s.issue[unit.commands[nxt]], _TRY, u, 0))
            if sync:
                s.start[i] = s.end[i] = unit.free = now
                unit.ended += 1
                heapq.heappush(self.heap, (now, _DONE, u, i))
                continue
            if u == MATRIX:
                self.preload = self._preload(i, unit, now)
            unit.pending.append(i)
            if unit.active < 0 and unit.planned < 0:
                self._begin(u, unit, now)

    def _preload(self, i: int, unit: Unit, now: int) -> int:
        """Cycle at which the stationary tile of matmul `i` is in place.

        Negative: that many cycles after the array is free (no double buffering).
        """
        tile = self.c.tile[i]
        if tile == self.resident:
            return now
        self.resident, touched = tile, self.c.touched[i]
        self.resident_range = touched or (0, 0)
        cycles = self.c.cost[i].before
        if self.machine.matrix.double_buffered_weights:
            return now + cycles
        return max(now, unit.free) + cycles if unit.active < 0 else -cycles

    # --- working ---

    def _begin(self, u: int, unit: Unit, now: int) -> None:
        """Start the oldest accepted command of an idle unit, or plan it for when it can start."""
        if not unit.pending or unit.active >= 0:
            return
        i = unit.pending[0]
        cost, s = self.c.cost[i], self.s
        if u == MATRIX:
            if self.preload < 0:
                self.preload = now - self.preload
            when = max(now, self.preload)
        elif u == VECTOR:
            when = now
        else:
            when = max(now, max(s.accept[i], self._credit(u, unit, cost)) + cost.before)
        if when > now:
            unit.planned = i
            heapq.heappush(self.heap, (when, _START, u, i))
            return
        unit.pending.popleft()
        s.start[i] = now
        unit.active, unit.left, unit.rate, unit.last = i, float(cost.work), 1.0, now
        unit.lost = [0.0, 0.0]
        unit.version += 1
        if u in (LOAD, VECTOR) and self.resident is not None:
            touched = self.c.touched[i]
            if (
                touched
                and touched[0] < self.resident_range[1]
                and self.resident_range[0] < touched[1]
            ):
                self.resident = None
        heapq.heappush(self.heap, (now + cost.work, _END, u, unit.version))
        if self.sharing.slowed or self.sharing.contends(unit):
            self._divide(now)
        if u in (STORE, MATRIX):
            self._try(u, unit, now)

    def _credit(self, u: int, unit: Unit, cost: Cost) -> int:
        """Cycle at which the limit on outstanding requests allows the next command's first."""
        needed = unit.sent + 1 - self.windows[u]  # this request must have returned
        if not cost.bursts or needed <= 0:
            return 0
        window = unit.window
        while len(window) > 1 and window[0][0] + window[0][1] < needed:
            window.popleft()
        before, bursts, start, end = window[0]
        back = start + math.ceil((end - start) * max(needed - before, 0) / bursts)
        return back + (self.machine.dram.write_latency if u == STORE else 0)

    def _divide(self, now: int) -> None:
        """Share banks and bandwidth anew; ends move."""
        for end, u in self.sharing.divide(now):
            heapq.heappush(self.heap, (end, _END, u, self.units[u].version))

    def _end(self, u: int, unit: Unit, now: int) -> None:
        """The work of a command is over: the unit is free, results follow after `after` cycles."""
        i, s = unit.active, self.s
        cost = self.c.cost[i]
        s.end[i] = now
        lost = now - s.start[i] - cost.work
        if lost:
            unit.advance(now)
            s.dram[i] = round(lost * unit.lost[DRAM] / sum(unit.lost))
            s.bank[i] = lost - s.dram[i]
        unit.active, unit.free = -1, now
        if cost.bursts:
            unit.window.append((unit.sent, cost.bursts, s.start[i], now))
            unit.sent += cost.bursts
        if self.sharing.slowed:
            self._divide(now)
        done = unit.promised = max(now + cost.after, unit.promised)  # in order
        if done > now or unit.completed < unit.ended:
            heapq.heappush(self.heap, (done, _DONE, u, i))
            unit.ended += 1
        else:
            unit.ended += 1
            self._complete(u, i, now)
        self._begin(u, unit, now)
        self._try(u, unit, now)

    def _complete(self, u: int, i: int, now: int) -> None:
        """Signal semaphores, free the queue entry."""
        s, unit = self.s, self.units[u]
        s.complete[i] = now
        unit.completed += 1
        unit.completions.append(now)
        for semaphore in self.c.signals[i]:
            self.counts[semaphore] += 1
            waiters = self.waiters[semaphore]
            if waiters:
                self.waiters[semaphore] = []
                for v in waiters:
                    other = self.units[v]
                    if other.blocked == semaphore:
                        head = other.commands[other.accepted]
                        s.cause[head] = u
                        other.blocked = -1
                        self._try(v, other, now)
        if self.next < len(self.c):
            self._issue()
        self._try(u, unit, now)


def schedule(
    commands: Commands,
    machine: Machine,
    semaphores: tuple[int, ...],
    name: Callable[[int], str] = str,
) -> Schedule:
    """Time `commands`; SimulationError names the waiting commands if they deadlock.

    `name(c)` describes command c for that message.
    """
    engine = Engine(commands, machine, semaphores)
    result = engine.run()
    if engine.stuck:
        raise SimulationError(_deadlock(engine, name))
    return result


def _deadlock(engine: Engine, name: Callable[[int], str]) -> str:
    lines = ["deadlock: no command can proceed"]
    for queue, unit in zip(QUEUES, engine.units, strict=True):
        if unit.accepted < len(unit.commands):
            i = unit.commands[unit.accepted]
            what = name(i)
            lines.append(f"  {queue.value}: {what} waits for semaphore {unit.blocked}, count 0")
    if engine.next < len(engine.c):
        i = engine.next
        what = name(i)
        lines.append(
            f"  control: {what} waits for room in the {QUEUES[engine.c.queue[i]].value} queue"
        )
    return "\n".join(lines)
