"""The cost model of tilings: cycles of every candidate at once, and what no tiling can beat.

    max(first loads + leaves, transfers) + the last tile's way out

A leaf is what the units do with one tile: it takes as long as its busier unit, or as the loads it
waits for.  With two slots a load has the time of two leaves to arrive and be used; the control
processor, which issues in order, may be the one that is late.  Loads of outer loops are exposed as
far as they take longer than the work queued before them.  A load is repeated by the loops it
depends on and those around them (hoist-copies moves it that far out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ....backends.targets.cycles import array_drain, transfer_cycles
from ....backends.targets.machine import Machine
from ....dialects.npu.isa import WINDOWS
from .bounds import distinct
from .classify import takes_windows
from .tiles import bands, boxes, moved_bytes, repeats, tile_bytes, where
from .units import (
    command_cycles,
    matrix_work,
    sum_slots,
    turnaround_cycles,
    unrolls,
    vector_work,
    window_work,
)
from .work import Operand, Work

CONTENTION = 0.2
"""Share of transfer time that is paid for even when it overlaps: less traffic wins a tie."""
HIDDEN = 0.05
"""Share of the units' time that is paid for even when transfers take longer: those may be ahead."""
UNBANDED = 1.08
"""Factor on tiles of a resident tensor that are not bands of it."""
LOOP_CYCLES = 8
"""Of the control processor, for each output tile."""


@dataclass(frozen=True)
class Tiling:
    """Tile size per domain dimension, and the order of loops, outermost first; modelled cycles.

    `sparse`: with weights compressed.  `bound`: cycles that no tiling takes less than, in the
    model.
    """

    tile: tuple[int, ...]
    order: tuple[int, ...]
    cycles: float
    sparse: bool = False
    bound: float = 0.0

    @property
    def gap(self) -> float:
        """How far the modelled cycles are above the bound: 0 is proved to be the best."""
        return self.cycles / self.bound - 1 if self.bound else 0.0


@dataclass(frozen=True)
class _Load:
    """A read as every candidate loads it: cycles and bus bytes of one tile, bytes of its buffer."""

    operand: Operand
    cycles: Any
    bus: Any
    size: Any


def best_of(
    work: Work, machine: Machine, slots: int, capacity: int, cold: bool, tiles: Sequence[Any]
) -> Tiling | None:
    """The cheapest of the candidates `tiles`; None if none fits.

    `slots` of buffers in loops; `capacity` bytes of scratchpad; `cold`: nothing runs before, so
    that constants cannot be loaded ahead.
    """
    candidates = _Candidates(work, machine, tiles)
    best: Tiling | None = None
    for order in orders(work):
        for inner, outer in ((2, 2), (2, 1)) if slots > 1 else ((1, 1),):
            cycles = candidates.cycles(order, inner, outer, capacity, cold)
            index = int(np.argmin(cycles))
            if np.isfinite(cycles[index]) and (best is None or cycles[index] < best.cycles):
                tile = tuple(int(t[index]) for t in tiles)
                best = Tiling(tile, order, float(cycles[index]), work.sparse is not None)
    return best


def orders(work: Work) -> list[tuple[int, ...]]:
    """Loop orders to try: of a product weights stay while activations stream, or the reverse."""
    part = work.roles
    if work.kind != "matmul":
        return [(*work.parallel, *part.k)]
    batch = [d for d in work.parallel if d in part.batch]
    return [(*batch, *part.n, *part.m, *part.k), (*batch, *part.m, *part.n, *part.k)]


class _Candidates:
    """What all candidates cost whatever the order of loops, and their cycles in a given order."""

    def __init__(self, work: Work, machine: Machine, tiles: Sequence[Any]):
        self.work, self.machine = work, machine
        self.one: Any = np.ones_like(tiles[0])
        self.counts = [-(-n // t) for n, t in zip(work.domain, tiles, strict=True)]
        self.tiled = self._product(work.parallel)
        self.every = self.tiled * self._product(work.roles.k)
        self.out = boxes(work.output, tiles)
        self.on_array = work.kind == "matmul" or takes_windows(work.kind, machine)
        self.matrix, self.commands = 0 * self.one, self.one
        if self.on_array:
            unit_work = matrix_work if work.kind == "matmul" else window_work
            self.matrix, self.commands = unit_work(work, tiles, machine)
        self.stages, self.window = vector_work(work, tiles, machine)
        between = self.window + self.stages * self.tiled / self.every
        self.busy = np.maximum(self.matrix, between)
        self.loads = [self._load(o, boxes(o, tiles)) for o in work.reads if not o.resident]
        self.store, self.stored = 0 * self.one, 0 * self.one
        if not work.output.resident:
            self.stored = moved_bytes(work.output, self.out, machine.dram.burst_bytes)
            self.store = self._transfer(tile_bytes(work.output, self.out), self.stored, False)
        self.spread = 1.0
        if work.output.resident:
            self.spread = where(bands(work, tiles), 1.0, UNBANDED)

    def _product(self, dims: Sequence[int]) -> Any:
        return prod((self.counts[d] for d in dims), start=self.one)

    def _load(self, operand: Operand, extents: Sequence[Any]) -> _Load:
        bus = moved_bytes(operand, extents, self.machine.dram.burst_bytes)
        size = tile_bytes(operand, extents)
        held = tile_bytes(operand, extents, self.machine.alignment)
        return _Load(operand, self._transfer(size, bus, True), bus, held)

    def _transfer(self, size: Any, bus: Any, load: bool) -> Any:
        """Cycles of one of many transfers, which share the limit on requests in flight."""
        dram = self.machine.dram
        latency = dram.read_latency if load else dram.write_latency
        window = dram.outstanding_reads if load else dram.outstanding_writes
        requests = bus / dram.burst_bytes
        alone = transfer_cycles(self.machine, size, requests, load)
        return np.maximum(alone, requests * latency / window)

    def fits(self, trips: Sequence[Any], inner: int, outer: int, capacity: int) -> tuple[Any, Any]:
        """(whether it fits, slots of accumulators) with so many slots for loads of either kind."""
        work, align, machine = self.work, self.machine.alignment, self.machine
        many = where(self.tiled > 1, inner, 1)  # output-shaped buffers: in the parallel loops
        used: Any = tile_bytes(work.output, self.out, align) * work.temporaries * many
        used = used + work.constant_bytes
        for load, times in zip(self.loads, trips, strict=True):
            slots = where(times == self.every, inner, outer)
            used = used + load.size * where(times > 1, slots, 1)
        fits, copies = used <= capacity, self.one
        if work.kind not in ("none", "vmax"):
            sums = tile_bytes(Operand(work.output.map, work.output.shape, 4), self.out, align)
            room = machine.accumulator.bytes // sums
            copies = np.clip(room, 1, where(self.tiled > 1, sum_slots(machine), 1))
            fits = fits & (room > 0)
        return fits, copies

    def cycles(
        self, order: Sequence[int], inner: int, outer: int, capacity: int, cold: bool
    ) -> Any:
        """Cycles in this order of loops; inf where it does not fit.

        `inner`, `outer`: slots of what is loaded for every leaf, and of what stays for several.
        """
        work, machine, every, tiled = self.work, self.machine, self.every, self.tiled
        trips = [repeats(load.operand, order, self.counts) for load in self.loads]
        fits, copies = self.fits(trips, inner, outer, capacity)
        latency = machine.dram.read_latency
        turn = turnaround_cycles(machine) if self.on_array else 0
        drain = array_drain(machine) if self.on_array else 0
        depth = machine.control.queue_depths.get("matrix" if self.on_array else "vector", 1)
        slack = self.busy / self.commands * np.minimum(self.commands, depth)
        first, exposed, loading, bus, each = 0 * self.one, 0, 0, self.stored * tiled, 0
        waits: Any = self.one < 0
        for load, times in zip(self.loads, trips, strict=True):
            # cores share loads at the top level only (share-loads), and not all loops are unrolled
            part = where(times > 1, 1, 1 / load.operand.share)
            cost = load.cycles * part
            loading, bus = loading + cost * times, bus + load.bus * part * times
            ahead = load.operand.constant and not cold
            if not ahead:
                first = first + cost
            waits = waits | (times == every) & ((not ahead) | (every > tiled))
            each = each + where(times == every, cost, 0)
            late = cost + latency
            late = np.maximum(late - slack, 0) if outer > 1 else late + turn
            exposed = exposed + where((times == every) | (times <= 1), 0, times * late)
        arrives = where(each > 0, each + latency, 0)
        if inner > 1:
            queued = self.busy * depth / self.commands
            leaf = np.maximum(self.busy, (arrives + self.busy + drain) / 2 * (each > 0))
            leaf = np.maximum(leaf, self.busy + np.maximum(arrives - queued, 0))
        else:
            leaf = self.busy + arrives + drain * (each > 0)
        issued = every * (self.commands + len(self.loads) + 2) + tiled * (len(work.chain) + 1)
        steady = np.maximum(leaf * every + exposed, issued * command_cycles(machine))
        # a tile's sums are free again when they have left the array and the vector unit
        steady = np.maximum(steady, (self.matrix * every + tiled * (turn + self.stages)) / copies)
        bandwidth = machine.dram.bytes_per_cycle
        moving = np.maximum(np.maximum(bus / bandwidth, loading), self.store * tiled)
        # the last tile is stored when all else is done: in the tail
        before = np.maximum((bus - self.stored) / bandwidth, loading)
        before = np.maximum(before, self.store * (tiled - 1))
        cycles = np.maximum(first + steady, before + where(waits, self.busy, 0))
        tail = self.stages + self.store
        if unrolls(machine):  # the next nest starts on finished tiles
            tail = tail + self.window * every / tiled
        cycles = cycles + tail + waiting_cycles(work, machine, cold)
        hidden = moving * CONTENTION
        if not cold:
            hidden = hidden + (steady + self.matrix * every) * HIDDEN
        cycles = (cycles + hidden + tiled * LOOP_CYCLES) * self.spread
        return where(fits, cycles, np.inf)


def bound_cycles(work: Work, machine: Machine, cold: bool = False) -> float:
    """Cycles in the model that no tiling takes less than: work at peak rates, bytes moved once."""
    unit, vector = machine.unit(work.sparse is not None), machine.vector
    points = prod(work.domain[d] for d in work.parallel)
    k = prod(work.domain[d] for d in work.roles.k)
    elements = points / vector.lanes
    busy = elements * sum(vector.cost(c) for c in work.chain)
    if work.kind == "matmul":
        n = prod(work.domain[d] for d in work.roles.n)
        cells = min(unit.rows * min(unit.columns, n), unit.columns * min(unit.rows, k))
        cells = unit.macs_per_cycle if unit.dataflow != "weight-stationary" else cells * unit.pixels
        busy = max(busy, work.macs / cells)
    elif takes_windows(work.kind, machine):
        busy = max(busy, points * k / (unit.window_channels * unit.pixels))
    elif work.kind in WINDOWS:
        busy += elements * k * vector.cost(work.kind)
    moved = sum(
        o.stored(distinct(o.map, work.domain, o.shape)) / o.share
        for o in (*work.reads, work.output)
        if not o.resident
    )
    moving = moved / machine.dram.bytes_per_cycle
    once = waiting_cycles(work, machine, cold) + LOOP_CYCLES + vector.startup * len(work.chain)
    return max(busy, moving) + moving * CONTENTION + busy * HIDDEN * (not cold) + once


def waiting_cycles(work: Work, machine: Machine, cold: bool) -> int:
    """Cycles of DRAM latency that a nest waits for before its first tile and behind its last one.

    Cores wait for the last store of all others before they load what those have stored.  What stays
    on the chip waits for none, nor do constants, unless nothing runs while they come.  Alone, a
    core goes on with the next nest's first tiles meanwhile.
    """
    if not machine.network.bytes_per_cycle:
        return machine.dram.read_latency
    loads = any(not o.resident and (cold or not o.constant) for o in work.reads)
    stores = not work.output.resident
    return machine.dram.read_latency * loads + machine.dram.write_latency * stores
