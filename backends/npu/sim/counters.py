"""Counters: where every cycle of every unit went.

For each unit, busy and the kinds of stall add up to the total exactly:

    load    |fetch|latency|busy........|wait store|latency|busy......|idle.........|

    fetch        the control processor has not issued the next command yet
    queue_full   nor could it: another command waits for a place in a full queue
    wait_<unit>  the next command waits for a semaphore that <unit> signals
    latency      DRAM latency or the limit on outstanding requests (load, store)
    preload      the next tile of weights is shifted into the array (matrix)
    bank, dram   work slowed down by conflicts for a memory bank, or for DRAM bandwidth
    network      the same for a port of the network between cores
    drain, idle  last results on their way, or the sums the next matmul adds to; no more commands

The control processor is busy, held by a full queue (`queue_full`) or done (`idle`).  Where several
cores run a program, a unit stands for those of all cores, and its total is cycles x cores.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ....dialects.npu.isa import QUEUES
from .costs import Cost
from .expand import Expansion
from .timing import LOAD, STORE, Schedule

STALLS: tuple[str, ...] = (
    "fetch", "queue_full", *(f"wait_{q.value}" for q in QUEUES), "latency", "preload", "bank",
    "dram", "network", "drain", "idle",
)  # fmt: skip
"""Kinds of stall, in the order of reports."""


@dataclass(frozen=True)
class Gap:
    """A stretch [start, end) of a unit's time that is not work, and its kind (one of STALLS)."""

    start: int
    end: int
    kind: str


def gaps(expansion: Expansion, s: Schedule) -> list[list[Gap]]:
    """Per unit (4 * core + queue), all time outside commands' work, in order and without holes."""
    n = expansion.per_core
    out: list[list[Gap]] = []
    for core in range(expansion.cores):
        mine = range(core * n, (core + 1) * n)
        queues: list[list[int]] = [[] for _ in QUEUES]
        for c in mine:
            queues[expansion.sites[expansion.site[c]].queue].append(c)
        held = _held(s, mine)
        out += [_unit_gaps(u, commands, held, s) for u, commands in enumerate(queues)]
    return out


def _unit_gaps(
    u: int, commands: Sequence[int], held_until: Callable[[int], int], s: Schedule
) -> list[Gap]:
    row: list[Gap] = []
    free, last_done = 0, 0
    for c in commands:
        start, accept = s.start[c], s.accept[c]
        if start > free:
            t = min(s.issue[c], start)
            if t > free:
                full = held_until(t) - held_until(free)
                row += [Gap(free, t - full, "fetch"), Gap(t - full, t, "queue_full")]
                free = t
            t = min(accept, start)
            if t > free:
                cause = s.cause[c]
                kind = f"wait_{QUEUES[cause % 4].value}" if cause >= 0 else "drain"
                row.append(Gap(free, t, kind))
                free = t
            if start > free:
                sums = start - s.sums[c]
                row.append(Gap(free, sums, "latency" if u in (LOAD, STORE) else "preload"))
                row.append(Gap(sums, start, "drain"))
        free, last_done = s.end[c], s.complete[c]
    row += [Gap(free, last_done, "drain"), Gap(max(free, last_done), s.cycles, "idle")]
    return [g for g in row if g.end > g.start]


def _held(s: Schedule, commands: range) -> Callable[[int], int]:
    """Function of t: cycles before t in which a full queue held their control processor."""
    held = [c for c in commands if s.issue[c] > s.ready[c]]
    ready = [s.ready[c] for c in held]
    length = [s.issue[c] - s.ready[c] for c in held]
    before = [0, *accumulate(length)]

    def held_until(t: int) -> int:
        k = bisect_right(ready, t)
        return before[k - 1] + min(t - ready[k - 1], length[k - 1]) if k else 0

    return held_until


def unit_cycles(
    expansion: Expansion, costs: Sequence[Cost], s: Schedule, idle: Sequence[Sequence[Gap]]
) -> dict[str, dict[str, int]]:
    """{unit: {"busy": .., kind of stall: ..}}; each unit's values sum to cycles x cores."""
    kinds = [k for k in ("busy", *STALLS) if k != "network" or expansion.cored]
    held = sum(b - a for a, b in zip(s.ready, s.issue, strict=True))
    end = sum(s.control_end)
    total = s.cycles * expansion.cores
    control = {"busy": end - held, "queue_full": held, "idle": total - end}
    out = {"control": {k: control.get(k, 0) for k in kinds}}
    for u, queue in enumerate(QUEUES):
        row = out[queue.value] = dict.fromkeys(kinds, 0)
        for gap in (g for gaps_of_core in idle[u :: len(QUEUES)] for g in gaps_of_core):
            row[gap.kind] += gap.end - gap.start
    for c, x in enumerate(expansion.site):
        row, cost = out[QUEUES[expansion.sites[x].queue].value], costs[c]
        row["busy"] += cost.work - cost.own_bank
        row["bank"] += cost.own_bank + s.bank[c]
        row["dram"] += s.dram[c]
        if s.network[c]:
            row["network"] += s.network[c]
    return out
