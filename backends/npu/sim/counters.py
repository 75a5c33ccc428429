"""Counters: where every cycle of every unit went.

For each unit, busy and the kinds of stall add up to the total exactly:

    load    |fetch|latency|busy........|wait store|latency|busy......|idle.........|

    fetch        the control processor has not issued the next command yet
    queue_full   nor could it: another command waits for a place in a full queue
    wait_<unit>  the next command waits for a semaphore that <unit> signals
    latency      DRAM latency or the limit on outstanding requests (load, store)
    preload      the next tile of weights is shifted into the array (matrix)
    bank, dram   work slowed down by conflicts for a memory bank, or for DRAM bandwidth
    drain, idle  last results on their way; no more commands

The control processor is busy, held by a full queue (`queue_full`) or done (`idle`).
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
    "dram", "drain", "idle",
)  # fmt: skip
"""Kinds of stall, in the order of reports."""


@dataclass(frozen=True)
class Gap:
    """A stretch [start, end) of a unit's time that is not work, and its kind (one of STALLS)."""

    start: int
    end: int
    kind: str


def gaps(expansion: Expansion, s: Schedule) -> list[list[Gap]]:
    """Per unit, all time outside commands' work, in order and without holes."""
    held_until = _held(s)
    queues = [expansion.sites[x].queue for x in expansion.site]
    out: list[list[Gap]] = []
    for u in range(len(QUEUES)):
        row: list[Gap] = []
        free, last_done = 0, 0
        for c in (c for c, q in enumerate(queues) if q == u):
            start, accept = s.start[c], s.accept[c]
            if start > free:
                t = min(s.issue[c], start)
                if t > free:
                    full = held_until(t) - held_until(free)
                    row += [Gap(free, t - full, "fetch"), Gap(t - full, t, "queue_full")]
                    free = t
                t = min(accept, start)
                if t > free:
                    kind = f"wait_{QUEUES[s.cause[c]].value}" if s.cause[c] >= 0 else "drain"
                    row.append(Gap(free, t, kind))
                    free = t
                if start > free:
                    row.append(Gap(free, start, "latency" if u in (LOAD, STORE) else "preload"))
            free, last_done = s.end[c], s.complete[c]
        row += [Gap(free, last_done, "drain"), Gap(max(free, last_done), s.cycles, "idle")]
        out.append([g for g in row if g.end > g.start])
    return out


def _held(s: Schedule) -> Callable[[int], int]:
    """Function of t: cycles before t in which a full queue held the control processor."""
    ready = [r for r, i in zip(s.ready, s.issue, strict=True) if i > r]
    length = [i - r for r, i in zip(s.ready, s.issue, strict=True) if i > r]
    before = [0, *accumulate(length)]

    def held_until(t: int) -> int:
        k = bisect_right(ready, t)
        return before[k - 1] + min(t - ready[k - 1], length[k - 1]) if k else 0

    return held_until


def unit_cycles(
    expansion: Expansion, costs: Sequence[Cost], s: Schedule, idle: Sequence[Sequence[Gap]]
) -> dict[str, dict[str, int]]:
    """{unit: {"busy": .., kind of stall: ..}}; each unit's values sum to the total cycles."""
    held = sum(b - a for a, b in zip(s.ready, s.issue, strict=True))
    control = {"busy": s.control_end - held, "queue_full": held, "idle": s.cycles - s.control_end}
    out = {"control": {k: control.get(k, 0) for k in ("busy", *STALLS)}}
    for u, queue in enumerate(QUEUES):
        row = dict.fromkeys(("busy", *STALLS), 0)
        for gap in idle[u]:
            row[gap.kind] += gap.end - gap.start
        out[queue.value] = row
    for c, x in enumerate(expansion.site):
        row, cost = out[QUEUES[expansion.sites[x].queue].value], costs[c]
        row["busy"] += cost.work - cost.own_bank
        row["bank"] += cost.own_bank + s.bank[c]
        row["dram"] += s.dram[c]
    return out
