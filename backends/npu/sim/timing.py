"""Event-driven timing: when every command is issued, accepted, works and completes.

The control processor issues commands in program order into four queues; an entry is held until its
command completes, so a full queue stops issue for all.  A unit accepts the head of its queue when
it has been issued and all its semaphores are there, then runs the phases of `costs.Cost`:

    issue ─▶ accept (semaphores taken) ─▶ before ─▶ start ═work═▶ end ─▶ after ─▶ complete (signals)

Commands that work at the same time share DRAM bandwidth and memory banks: while a resource is
oversubscribed all its users slow down in proportion.  Rates change only when a command starts or
ends, so time advances from event to event and the cost is linear in commands.

Several cores are as many control processors with four units each (unit 4 * core + queue): what one
signals, broadcasts or takes of DRAM reaches the others through the same events.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ....dialects.errors import SimulationError
from ....dialects.npu.isa import QUEUES
from ...targets.machine import Machine
from .commands import Commands
from .costs import Cost
from .sharing import DRAM, NETWORK, Sharing, Unit

LOAD, STORE, MATRIX, VECTOR = range(4)
_END, _DONE, _TRY, _START = range(4)  # order of events within a cycle


@dataclass
class Schedule:
    """Cycle of each event per command; `order` lists commands as accepted.

    `ready`: control was ready to issue it (`issue` - `ready` is a full queue).  `cause`: unit whose
    signal let it go, -1 for none.  `sums`: cycles before its start for the sums it adds to.
    `bank`, `dram` and `network`: cycles of work lost to other units.  `control_end` is per core.
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
    network: list[int]
    sums: list[int]
    order: list[int] = field(default_factory=list[int])
    control_end: list[int] = field(default_factory=list[int])
    cycles: int = 0

    @classmethod
    def empty(cls, n: int) -> Schedule:
        """Of `n` commands."""
        never = [[-1] * n for _ in range(3)]
        accept, complete, cause = never
        ready, issue, start, end, bank, dram, network, sums = ([0] * n for _ in range(8))
        return cls(ready, issue, accept, start, end, complete, cause, bank, dram, network, sums)


@dataclass(slots=True)
class _Core:
    """A control processor, and what the array of its core holds.

    `next` is to be issued, of commands up to `end`, at `time` or later.  `resident` is the key of
    the stationary tile, which lies in bytes `span` of the scratchpad; `preload` when it is there;
    `sums` the last matmul's, `added` when that began; `settles`: the last result must be complete.
    """

    next: int
    end: int
    time: int = 0
    resident: object = None
    span: tuple[int, int] = (0, 0)
    preload: int = 0
    sums: object = None
    added: int = 0
    settles: bool = False


class Engine:
    """One simulation in time; `run()` once."""

    def __init__(self, commands: Commands, machine: Machine, semaphores: tuple[int, ...]):
        self.c, self.machine = commands, machine
        cores, n = commands.cores, commands.per_core
        self.counts = list(semaphores) * cores
        self.waiters: list[list[int]] = [[] for _ in self.counts]
        self.depths = [machine.control.queue_depths[q.value] for q in QUEUES]
        self.in_place = machine.matrix.dataflow == "output-stationary"
        self.windows = (machine.dram.outstanding_reads, machine.dram.outstanding_writes)
        self.units = [Unit(g // len(QUEUES)) for g in range(cores * len(QUEUES))]
        self.cores = [_Core(i * n, (i + 1) * n) for i in range(cores)]
        self.sharing = Sharing(self.units, commands, machine)
        self.heap: list[tuple[int, int, int, int]] = []
        self.s = Schedule.empty(len(commands))

    def run(self) -> Schedule:
        """The schedule; SimulationError on deadlock is left to the caller (`stuck`)."""
        for core in self.cores:
            self._issue(core)
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
        s.control_end = [core.time + self.c.tail for core in self.cores]
        s.cycles = max([*s.control_end, *(u.completions[-1] for u in units if u.completions)])
        return s

    @property
    def stuck(self) -> bool:
        """Whether commands remain that nothing can wake."""
        return any(core.next < core.end for core in self.cores) or any(
            u.completed < len(u.commands) for u in self.units
        )

    # --- control processor ---

    def _issue(self, core: _Core) -> None:
        """Issue until a queue is full; a freed entry calls again."""
        c, s = self.c, self.s
        while core.next < core.end:
            i = core.next
            u = c.unit[i]
            unit, depth = self.units[u], self.depths[u % 4]
            ready = core.time + c.control[i]
            s.ready[i] = ready
            over = len(unit.commands) - depth
            if over >= unit.completed:
                return
            when = max(ready, unit.completions[over]) if over >= 0 else ready
            s.issue[i] = core.time = when
            unit.commands.append(i)
            core.next = i + 1
            if unit.accepted == len(unit.commands) - 1:
                heapq.heappush(self.heap, (when, _TRY, u, i))

    # --- accepting ---

    def _try(self, u: int, unit: Unit, now: int) -> None:
        """Accept as many commands of unit `u` as can go now."""
        c, s, counts, queue = self.c, self.s, self.counts, u % 4
        while unit.accepted < len(unit.commands):
            i = unit.commands[unit.accepted]
            if s.issue[i] > now or (unit.blocked >= 0 and not counts[unit.blocked]):
                return
            sync = c.sync[i]
            if not sync and (
                unit.active >= 0 if queue == VECTOR else queue != LOAD and unit.pending
            ):
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
                self._pass(u, unit, i, now)
                continue
            if queue == MATRIX:
                core = self.cores[unit.core]
                core.preload = self._preload(i, core, unit, now)
            unit.pending.append(i)
            if unit.active < 0 and unit.planned < 0:
                self._begin(u, unit, now)

    def _pass(self, u: int, unit: Unit, i: int, now: int) -> None:
        """Complete sync `i` when all before it in its queue have; what follows does not wait."""
        if unit.pending or unit.active >= 0:
            unit.followers.setdefault(unit.pending[-1] if unit.pending else unit.active, []).append(
                i
            )
            return
        self.s.start[i] = self.s.end[i] = max(now, unit.free)
        unit.ended += 1
        unit.promised = max(now, unit.promised)
        heapq.heappush(self.heap, (unit.promised, _DONE, u, i))

    def _preload(self, i: int, core: _Core, unit: Unit, now: int) -> int:
        """Cycle at which the stationary tile of matmul `i` is in place.

        Negative: that many cycles after the array is free (no double buffering).
        """
        tile = self.c.tile[i]
        if tile == core.resident:
            return now
        core.resident, touched = tile, self.c.touched[i]
        core.span = touched or (0, 0)
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
        cost, s, queue = self.c.cost[i], self.s, u % 4
        if queue == MATRIX:
            when = self._array_free(i, unit, now)
        elif queue == VECTOR:
            when = now
        else:
            when = max(now, max(s.accept[i], self._credit(queue, unit, cost)) + cost.before)
        if when > now:
            unit.planned = i
            heapq.heappush(self.heap, (when, _START, u, i))
            return
        unit.pending.popleft()
        s.start[i] = now
        unit.active, unit.left, unit.rate, unit.last = i, float(cost.work), 1.0, now
        unit.lost = [0.0, 0.0, 0.0]
        unit.version += 1
        if queue == MATRIX:
            core = self.cores[unit.core]
            core.sums, core.added, core.settles = self.c.sums[i], now, self.c.settles[i]
        elif touched := self.c.touched[i]:
            for core in (self.cores[k] for k in (unit.core, *self.c.others[i])):
                if touched[0] < core.span[1] and core.span[0] < touched[1]:
                    core.resident = None
        heapq.heappush(self.heap, (now + cost.work, _END, u, unit.version))
        if self.sharing.slowed or self.sharing.contends(unit):
            self._divide(now)
        if queue in (STORE, MATRIX):
            self._try(u, unit, now)

    def _array_free(self, i: int, unit: Unit, now: int) -> int:
        """Cycle at which `i` can start: its tile is in place, and what it adds to or may read."""
        core = self.cores[unit.core]
        if core.preload < 0:
            core.preload = now - core.preload
        when = there = max(now, core.preload)
        latency = self.machine.matrix.accumulate_latency
        if latency and self.c.adds[i] and self.c.sums[i] == core.sums and not self.in_place:
            there = max(there, core.added + latency)
        if core.settles:
            there = max(there, unit.promised)
        if there > now:
            self.s.sums[i] = there - when
        return there

    def _credit(self, queue: int, unit: Unit, cost: Cost) -> int:
        """Cycle at which the limit on outstanding requests allows the next command's first."""
        needed = unit.sent + 1 - self.windows[queue]  # this request must have returned
        if not cost.bursts or needed <= 0:
            return 0
        window = unit.window
        while len(window) > 1 and window[0][0] + window[0][1] < needed:
            window.popleft()
        before, bursts, start, end = window[0]
        back = start + math.ceil((end - start) * max(needed - before, 0) / bursts)
        return back + (self.machine.dram.write_latency if queue == STORE else 0)

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
            total = sum(unit.lost)
            s.dram[i] = round(lost * unit.lost[DRAM] / total)
            s.network[i] = min(round(lost * unit.lost[NETWORK] / total), lost - s.dram[i])
            s.bank[i] = lost - s.dram[i] - s.network[i]
        unit.active, unit.free = -1, now
        if cost.bursts:
            unit.window.append((unit.sent, cost.bursts, s.start[i], now))
            unit.sent += cost.bursts
        if self.sharing.slowed:
            self._divide(now)
        done = unit.promised = max(now + cost.after, unit.promised)  # in order
        followers = unit.followers.pop(i, ())
        at_once = done == now and unit.completed == unit.ended
        unit.ended += 1 + len(followers)
        if not at_once:
            heapq.heappush(self.heap, (done, _DONE, u, i))
        for sync in followers:
            s.start[sync] = s.end[sync] = now
            heapq.heappush(self.heap, (done, _DONE, u, sync))
        if at_once:
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
        core = self.cores[unit.core]
        if core.next < core.end:
            self._issue(core)
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
    several = len(engine.cores) > 1
    for number, core in enumerate(engine.cores):
        who = f"core {number}, " if several else ""
        for queue, unit in zip(QUEUES, engine.units[4 * number :], strict=False):
            if unit.accepted < len(unit.commands):
                what = name(unit.commands[unit.accepted])
                semaphore = unit.blocked - number * engine.c.semaphores
                lines.append(
                    f"  {who}{queue.value}: {what} waits for semaphore {semaphore}, count 0"
                )
        if core.next < core.end:
            what, queue = name(core.next), QUEUES[engine.c.unit[core.next] % 4].value
            lines.append(f"  {who}control: {what} waits for room in the {queue} queue")
    return "\n".join(lines)
