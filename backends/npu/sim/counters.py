"""Counters: where every cycle of every unit went, traffic, energy, and the same by layer.

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

import numpy as np

from ....dialects.constants import Array
from ....dialects.npu.isa import QUEUES
from ...targets.machine import Machine
from .bounds import Compulsory, lower_bound
from .costs import Cost, Effort
from .expand import Expansion
from .timing import LOAD, STORE, Schedule

STALLS: tuple[str, ...] = (
    "fetch", "queue_full", *(f"wait_{q.value}" for q in QUEUES), "latency", "preload", "bank", "dram", "drain", "idle"
)  # fmt: skip
"""Kinds of stall, in the order of reports."""


@dataclass(frozen=True)
class Traffic:
    """Work and bytes: payload read from and written to DRAM, bus bytes (whole bursts), on chip."""

    macs: int = 0
    matrix_macs: int = 0
    vector_elements: int = 0
    vector_cycles: float = 0.0
    spm_bytes: int = 0
    acc_bytes: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    dram_bus_bytes: int = 0


@dataclass(frozen=True)
class Layer:
    """One layer (ONNX nodes) of a program.

    It is in progress from cycle `start` to `end`; layers overlap.  `cycles` = end - start is what
    compares with `lower_bound_cycles`; `exclusive_cycles` (by which its completion moved the end of
    everything so far) add up to the program's total.  `busy` is per unit, `unit` the busiest.
    """

    index: int
    nodes: tuple[str, ...]
    unit: str
    busy: dict[str, int]
    start: int
    end: int
    cycles: int
    exclusive_cycles: int
    lower_bound_cycles: int
    commands: int
    macs: int
    dram_bytes: int
    compulsory_bytes: int

    @property
    def name(self) -> str:
        """The nodes' names, joined."""
        return " + ".join(self.nodes) or f"#{self.index}"


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


def traffic(
    expansion: Expansion, efforts: Sequence[Effort], costs: Sequence[Cost], machine: Machine
) -> list[Traffic]:
    """Per layer index, the work done and the bytes moved."""
    layers = 1 + max((s.instruction.layer for s in expansion.sites), default=0)
    sums = [dict[str, float]() for _ in range(layers)]

    def add(layer: int, **values: float) -> None:
        for key, value in values.items():
            sums[layer][key] = sums[layer].get(key, 0) + value

    for site, e in zip(expansion.sites, efforts, strict=True):
        n = site.executions
        add(
            site.instruction.layer, macs=n * e.macs, matrix_macs=n * e.matrix_macs,
            vector_elements=n * e.vector_elements, vector_cycles=n * e.vector_cycles,
            spm_bytes=n * e.spm_bytes, acc_bytes=n * e.acc_bytes,
        )  # fmt: skip
        for place in (p for p in site.places if p.in_dram):
            clips = np.asarray(place.clips, np.int64).reshape(n, -1, 2)
            moved = int((clips[..., 1] - clips[..., 0]).prod(axis=1).sum()) * place.element
            add(
                site.instruction.layer,
                **{f"dram_{'write' if place.writes() else 'read'}_bytes": moved},
            )
    for c, x in enumerate(expansion.site):
        if costs[c].bursts:
            add(
                expansion.sites[x].instruction.layer,
                dram_bus_bytes=costs[c].bursts * machine.dram.burst_bytes,
            )
    return [
        Traffic(**{k: v if k == "vector_cycles" else int(v) for k, v in row.items()})
        for row in sums
    ]  # pyright: ignore[reportArgumentType]


def total(parts: Sequence[Traffic]) -> Traffic:
    """The sum over layers."""
    return Traffic(*(sum(values) for values in zip(*(_row(p) for p in parts), strict=True)))


def _row(t: Traffic) -> tuple[float, ...]:
    return tuple(getattr(t, f) for f in Traffic.__dataclass_fields__)


def energy(t: Traffic, cycles: int, machine: Machine) -> dict[str, float]:
    """PJ by kind; DRAM counts whole bursts, idle power all cycles of all cores."""
    e = machine.energy
    return {
        "mac": t.matrix_macs * e.mac,
        "vector": t.vector_elements * e.vector,
        "scratchpad": t.spm_bytes * e.spm_byte,
        "accumulator": t.acc_bytes * e.acc_byte,
        "dram": t.dram_bus_bytes * e.dram_byte,
        "idle": cycles * machine.cores * e.idle_cycle,
    }


def layer_rows(
    expansion: Expansion, costs: Sequence[Cost], s: Schedule, parts: Sequence[Traffic],
    compulsory: Compulsory, machine: Machine,
) -> list[Layer]:  # fmt: skip
    """One row per layer that has commands, by layer index."""
    if not expansion.site:
        return []
    site = np.asarray(expansion.site)
    layer = np.asarray([x.instruction.layer for x in expansion.sites])[site]
    unit = np.asarray([x.queue for x in expansion.sites])[site]
    busy = np.asarray([c.work - c.own_bank for c in costs])
    waiting = np.asarray(s.start) - np.asarray([c.before for c in costs])
    begin = np.maximum(waiting, np.asarray(s.accept))
    done = np.asarray(s.complete)
    exclusive = _exclusive(layer, done, s.cycles, len(parts))
    rows: list[Layer] = []
    by_layer = np.argsort(layer, kind="stable")
    present, first = np.unique(layer[by_layer], return_index=True)
    members = dict(zip(present.tolist(), np.split(by_layer, first[1:]), strict=True))
    for index in members:
        mine = members[index]
        t = parts[index]
        per_unit = {q.value: int(busy[mine][unit[mine] == u].sum()) for u, q in enumerate(QUEUES)}
        start, end = int(begin[mine].min()), int(done[mine].max())
        bytes_ = compulsory.by_layer.get(index, 0)
        nodes = tuple(expansion.layers[index]) if index < len(expansion.layers) else ()
        rows.append(
            Layer(
                index, nodes, max(per_unit, key=lambda q: per_unit[q]), per_unit, start, end, end - start,
                exclusive[index], lower_bound(machine, t.matrix_macs, t.vector_cycles, bytes_), len(mine), t.macs,
                t.dram_read_bytes + t.dram_write_bytes, bytes_,
            )
        )  # fmt: skip
    return rows


def _exclusive(layer: Array, done: Array, cycles: int, count: int) -> list[int]:
    """By how much each layer's completions advance the completion of everything so far."""
    out = [0] * count
    frontier, last = 0, 0
    for c in np.argsort(done, kind="stable").tolist():
        last = int(layer[c])
        out[last] += int(done[c]) - frontier
        frontier = int(done[c])
    out[last] += cycles - frontier
    return out
