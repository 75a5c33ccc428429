"""Choosing tile sizes and loop order: exhaustive over near-even splits, by a cost model.

Every combination of candidate tile sizes (at most 16,000) is judged at once with numpy: does it
fit, and how many cycles does it take,

    max(work + exposed loads, transfers, issue) + first tile's load + last tile's store

where loads are exposed as far as they take longer than the commands queued before them (the
control processor issues in order), and a load is repeated by the loops it depends on and those
around them (hoist-copies moves it that far out).  A contraction has two loop orders: weights stay
while activations stream, or the other way round.  Buffers inside loops count twice (double
buffering); if nothing fits, once.  Windows stay whole if they are small and fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....backends.targets.machine import Machine
from ....dialects.npu.isa import WINDOWS
from .classify import takes_windows
from .footprint import depends, near_even
from .work import Operand, Work

MAX_COMBINATIONS = 16_000
COMMAND_BYTES = 176
"""Typical size of an encoded command, which the control processor fetches."""
CONTENTION = 0.2
"""Share of transfers and matrix work that is paid for even where it overlaps.

Other layers may have a use for the DRAM or the array meanwhile; and the less of either wins a tie.
"""
UNBANDED = 1.08
"""Factor on tiles of a resident tensor that are not bands of it."""
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 4096)


@dataclass(frozen=True)
class Tiling:
    """Tile size per domain dimension, and the order of loops, outermost first; modelled cycles."""

    tile: tuple[int, ...]
    order: tuple[int, ...]
    cycles: float


def _where(condition: Any, yes: Any, no: Any) -> Any:
    # numpy's overloads know nothing of Any
    return np.where(condition, yes, no)  # pyright: ignore[reportUnknownVariableType]


def command_cycles(machine: Machine) -> int:
    """Cycles of the control processor per command."""
    return max(
        machine.control.issue_cycles,
        math.ceil(COMMAND_BYTES / machine.control.fetch_bytes_per_cycle),
    )


def sum_slots(machine: Machine) -> int:
    """Most slots of an accumulator tile: more than two hide long pipelines (double-buffer)."""
    return 2 if machine.accumulator.regions > 1 else 4


def turnaround_cycles(machine: Machine) -> int:
    """Cycles of the matrix unit before the first and after the last row of a tile."""
    unit = machine.matrix
    if unit.dataflow == "dot-product":
        return machine.scratchpad.latency
    return machine.scratchpad.latency + 2 * unit.rows + unit.columns


def unrolls(machine: Machine) -> bool:
    """Whether unroll-tiles takes outermost tile loops apart for this machine.

    The array has a pipeline to keep full across layers, and banks do not make loops' slots useful.
    """
    return machine.scratchpad.regions == 1 and machine.matrix.dataflow != "dot-product"


@dataclass(frozen=True)
class Attempt:
    """What tiles may be: `slots` for buffers in loops; windows whole or split; axes made small.

    `small`: output axes of several dimensions are tiled along their inner dimension.
    """

    slots: int
    whole_windows: bool = False
    small: bool = False


LARGE_WINDOW = 64
"""Taps from which on splitting a window is considered even where it fits whole."""


def candidates(work: Work, dim: int, machine: Machine, attempt: Attempt) -> list[int]:
    """Tile sizes to try for one dimension, largest first."""
    extent = work.domain[dim]
    if (dim in work.fixed and not attempt.small) or (attempt.whole_windows and dim in work.roles.k):
        return [extent]
    if dim in work.unit or extent == 1 or (attempt.small and dim in work.small):
        return [1]
    if dim in work.exact:
        return [t for t in range(extent, 0, -1) if extent % t == 0]
    part = work.roles
    if dim in part.k and dim != max(part.k, key=lambda d: (work.domain[d], d)):
        return [extent, 1]  # kernel dimensions are split completely or not at all
    sizes = {near_even(extent, c) for c in _COUNTS if c <= extent} | {1}
    block = machine.vector.lanes if dim == work.inner else 1
    if dim == work.inner and takes_windows(work.kind, machine):
        block = max(block, machine.matrix.window_channels)
    if work.kind == "matmul" and dim in part.n[-1:]:
        block = machine.matrix.columns
    elif work.kind == "matmul" and dim in part.k:
        block = machine.matrix.rows
    # above one block only multiples of it: ragged blocks cost as much as whole ones
    sizes = {s if s < block or s == extent else -(-s // block) * block for s in sizes}
    return sorted((s for s in sizes if s <= extent), reverse=True)


def _grid(work: Work, machine: Machine, attempt: Attempt) -> list[Any]:
    """One array per dimension: the tile sizes of every combination."""
    lists = [candidates(work, d, machine, attempt) for d in range(len(work.domain))]
    while np.prod([float(len(c)) for c in lists]) > MAX_COMBINATIONS:
        longest = max(range(len(lists)), key=lambda d: len(lists[d]))
        values = lists[longest]
        lists[longest] = [*values[:-1][::2], values[-1]] if len(values) > 2 else values[-1:]
    mesh = np.meshgrid(*(np.array(c, np.int64) for c in lists), indexing="ij")
    return [m.reshape(-1) for m in mesh]


def _boxes(operand: Operand, tiles: Sequence[Any]) -> list[Any]:
    """Box extents per axis (arrays over the combinations)."""
    out: list[Any] = []
    for row in operand.map.coeffs:
        step, extent = np.zeros_like(tiles[0]), np.ones_like(tiles[0])
        for d, a in enumerate(row):
            if a:
                step = np.gcd(step, _where(tiles[d] > 1, abs(a), 0))
        for d, a in enumerate(row):
            if a:
                extent = extent + abs(a) // np.maximum(step, 1) * (tiles[d] - 1)
        out.append(extent)
    return out


def _tile_bytes(operand: Operand, boxes: Sequence[Any], align: int) -> Any:
    total = np.full_like(boxes[0], operand.bytes) if boxes else np.array(operand.bytes)
    for b in boxes:
        total = total * b
    return -(-total // align) * align


def _moved_bytes(operand: Operand, boxes: Sequence[Any], burst: int) -> Any:
    """Bytes of DRAM traffic for one tile: contiguous rows, cut at burst boundaries.

    A row that may start anywhere in a burst touches (bytes - 1) / burst + 1 of them on average.
    """
    if operand.constant:
        size: Any = operand.bytes
        for box in boxes:
            size = size * box
        return -(-size // (burst * operand.share)) * burst
    run: Any = operand.bytes
    rows: Any = 1
    contiguous: Any = True
    for extent, box in zip(reversed(operand.shape), reversed(boxes), strict=True):
        inside: Any = np.minimum(box, extent)
        run = _where(contiguous, run * inside, run)
        rows = _where(contiguous, rows, rows * inside)
        contiguous = contiguous & (inside == extent)
    aligned: Any = (operand.shape[-1] * operand.bytes % burst == 0 if operand.shape else True) & (
        run % burst == 0
    )
    return rows * _where(aligned, run, run - 1 + burst)


def _orders(work: Work) -> list[tuple[int, ...]]:
    part = work.roles
    if work.kind != "matmul":
        return [(*work.parallel, *part.k)]
    batch = [d for d in work.parallel if d in part.batch]
    return [(*batch, *part.n, *part.m, *part.k), (*batch, *part.m, *part.n, *part.k)]


def _strides(operand: Operand, tiles: Sequence[Any], dims: Sequence[int]) -> list[Any]:
    """Elements from one step of each dimension to the next, in a tile of the operand's own."""
    boxes: list[Any] = _boxes(operand, tiles)
    if operand.resident:
        boxes = [n + 0 * b for n, b in zip(operand.shape, boxes, strict=True)]
    out: list[Any] = [np.zeros_like(tiles[0]) for _ in dims]
    size: Any = np.ones_like(tiles[0])
    for row, box in zip(reversed(operand.map.coeffs), reversed(boxes), strict=True):
        step: Any = np.zeros_like(tiles[0])
        for d, a in enumerate(row):
            step = np.gcd(step, _where(tiles[d] > 1, abs(a), 0))
        step = 1 if operand.resident else np.maximum(step, 1)
        for i, d in enumerate(dims):
            out[i] = out[i] + row[d] // step * size
        size = size * box
    return out


def _coalesced(dims: Sequence[int], operands: Sequence[Operand], tiles: Sequence[Any]) -> list[Any]:
    """Sizes of `dims` after merging what is one dimension for all operands, as lower-to-npu does.

    A dimension that is merged into the next one out is left with size 1.
    """
    dims = [d for d in dims if np.any(tiles[d] > 1)]
    sizes: list[Any] = [tiles[d] for d in dims]
    if len(dims) < 2:
        return sizes
    strides = [_strides(o, tiles, dims) for o in operands]
    for i in reversed(range(len(dims) - 1)):
        inner, outer = sizes[i + 1], sizes[i]
        merged: Any = (inner > 1) & (outer > 1)
        for s in strides:
            merged = merged & (s[i] == s[i + 1] * inner)
        take = merged | (outer == 1)  # the inner one's strides
        for s in strides:
            s[i] = _where(take, s[i + 1], s[i])
        merged = merged | (inner == 1) | (outer == 1)
        sizes[i], sizes[i + 1] = _where(merged, outer * inner, outer), _where(merged, 1, inner)
    return sizes


def matrix_cycles(work: Work, tiles: Sequence[Any], machine: Machine) -> tuple[Any, Any]:
    """(cycles, commands) of the matrix unit for one tile (each an array over tile sizes)."""
    assert work.b is not None
    unit = machine.matrix
    a, b, sums = work.reads[work.a], work.reads[work.b], replace(work.output, resident=False)
    stationary_sums = unit.dataflow == "output-stationary"
    limit = unit.rows * unit.max_tiles
    if stationary_sums and unit.max_tiles > 1:
        limit = 1 << 24
    left: Any = np.full_like(tiles[0], limit)
    held: Any = np.ones_like(tiles[0])  # reduction of one command
    commands: Any = np.ones_like(tiles[0])
    for size in reversed(_coalesced(work.roles.k, (a, b), tiles)):  # as fit_rows of lower-to-npu
        fits = size <= left
        commands = commands * _where(fits, 1, -(-size // np.maximum(left, 1)))
        held = held * _where(fits, size, np.maximum(np.minimum(left, size), 1))
        left = _where(fits, left // size, 1)
    down = 1 if stationary_sums else -(-held // unit.rows)
    across: Any = np.maximum(unit.max_tiles // down, 1)
    passes = commands * down
    found: Any = np.zeros_like(tiles[0], np.bool_)  # the columns: the innermost of them
    for size in reversed(_coalesced(work.roles.n, (b, sums), tiles)):
        here = ~found & (size > 1)
        columns = _where(here, -(-size // unit.columns), size)
        passes = passes * columns
        commands = commands * _where(here, -(-columns // across), columns)
        found = found | here
    for d in work.roles.batch:
        commands, passes = commands * tiles[d], passes * tiles[d]
    rows: Any = np.ones_like(tiles[0])
    for d in work.roles.m:
        rows = rows * tiles[d]
    stream = -(-rows // unit.pixels)
    if stationary_sums:  # blocks of rows x columns outputs, swapped in and out
        blocks = -(-rows // (unit.rows * unit.pixels))
        stream, load = blocks * held, blocks * np.minimum(-(-rows // unit.pixels), unit.rows)
    else:
        load = np.minimum(held, unit.rows)
        if unit.dataflow == "dot-product":
            load = -(
                -load
                * -(-unit.columns // machine.scratchpad.width)
                // machine.scratchpad.region_ports
            )
    each = np.maximum(stream, load) if unit.double_buffered_weights else stream + load
    return passes * each, commands


def _window_cycles(work: Work, tiles: Sequence[Any], machine: Machine) -> tuple[Any, Any]:
    """(cycles, commands) of one tile whose windows the array takes."""
    unit, positions = machine.matrix, np.ones_like(tiles[0])
    for d in work.parallel:
        if d != work.inner:
            positions = positions * tiles[d]
    channels = np.ones_like(tiles[0]) if work.inner is None else tiles[work.inner]
    cycles: Any = -(-positions // unit.pixels) * -(-channels // unit.window_channels)
    for d in work.roles.k:
        cycles = cycles * tiles[d]
    return cycles, np.ones_like(tiles[0])


def _vector_cycles(work: Work, tiles: Sequence[Any], machine: Machine) -> tuple[Any, Any]:
    """(cycles of the elementwise stages of one tile, cycles of one part of its windows)."""
    unit = machine.vector
    points: Any = np.ones_like(tiles[0])
    for d in work.parallel:
        points = points * tiles[d]
    inner = work.inner
    channels = tiles[inner] if inner is not None else np.ones_like(tiles[0])
    window: Any = np.zeros(1)
    total = sum(
        (points / unit.lanes * unit.cost(c) + unit.startup for c in work.chain),
        np.zeros(1),
    )
    if work.kind in WINDOWS and not takes_windows(work.kind, machine):
        # positions share a group only as far as whole channels do: narrower tiles are scattered
        together = max(unit.lanes // work.domain[inner], 1) if inner is not None else 1
        groups = -(-(points // channels) // together) * -(-channels // unit.lanes)
        for d in work.roles.k:
            groups = groups * tiles[d]
        window = groups * unit.cost(work.kind) + unit.startup
    return total, window


def _evaluate(work: Work, machine: Machine, attempt: Attempt, capacity: int) -> Tiling | None:
    """The cheapest tiling; None if nothing fits."""
    slots = attempt.slots
    tiles, align = _grid(work, machine, attempt), machine.alignment
    counts = [-(-n // t) for n, t in zip(work.domain, tiles, strict=True)]
    ones = np.ones_like(tiles[0])
    tiled = ones
    for d in work.parallel:
        tiled = tiled * counts[d]
    many = _where(tiled > 1, slots, 1)  # output-shaped buffers live inside the parallel loops
    out_boxes = _boxes(work.output, tiles)
    spm = work.constant_bytes + _tile_bytes(work.output, out_boxes, align) * work.temporaries * many
    fits, copies = ones > 0, ones
    if work.kind not in ("none", "vmax"):
        acc = _tile_bytes(Operand(work.output.map, work.output.shape, 4), out_boxes, align)
        fits = acc * many <= machine.accumulator.bytes
        copies = np.clip(
            machine.accumulator.bytes // acc, 1, _where(many > 1, sum_slots(machine), 1)
        )
    every = tiled
    for d in work.roles.k:
        every = every * counts[d]
    on_array = work.kind == "matmul" or takes_windows(work.kind, machine)
    matrix, commands = 0 * ones, ones
    if on_array:
        cycles_of = matrix_cycles if work.kind == "matmul" else _window_cycles
        matrix, commands = cycles_of(work, tiles, machine)
    stages, window = _vector_cycles(work, tiles, machine)
    vector = stages + window
    burst = machine.dram.burst_bytes
    dram = machine.dram
    bandwidth, write_bandwidth = (
        min(dram.bytes_per_cycle, machine.dma_bytes_per_cycle, in_flight * burst / max(latency, 1))
        for in_flight, latency in (
            (dram.outstanding_reads, dram.read_latency),
            (dram.outstanding_writes, dram.write_latency),
        )
    )
    store = _moved_bytes(work.output, out_boxes, burst) * (not work.output.resident)
    reads = [(operand, _boxes(operand, tiles)) for operand in work.reads if not operand.resident]
    moved = [_moved_bytes(o, boxes, burst) for o, boxes in reads]
    held = [_tile_bytes(o, boxes, align) for o, boxes in reads]
    latency = machine.dram.read_latency
    between = window + stages * tiled / every
    slack: Any = 0 * ones
    if slots > 1:
        slack = np.maximum(_slack(matrix, commands, machine), between) if on_array else between
    busy = np.maximum(matrix, between)
    turnaround = turnaround_cycles(machine) if on_array else 0
    spread = _where(_bands(work, tiles), 1.0, UNBANDED) if work.output.resident else 1.0
    best: Tiling | None = None
    for order in _orders(work):
        used, loaded, first, exposed, inner = spm, 0 * ones, store, 0 * ones, 0 * ones
        for (operand, _), bytes_, size in zip(reads, moved, held, strict=True):
            trips = _repeats(operand, order, counts)
            used = used + size * _where(trips > 1, slots, 1)
            loaded = loaded + bytes_ * trips
            # constants are loaded ahead, except by loops, which begin when the layer does
            waits = (trips > 1) & (not unrolls(machine)) if operand.constant else True
            first = first + bytes_ * waits
            innermost = trips == every
            inner = inner + _where(innermost, bytes_, 0)
            late = np.maximum(bytes_ / bandwidth + latency - slack, 0)
            exposed = exposed + _where(innermost | (trips <= 1), 0, trips * late)
        exposed = exposed + every * _where(
            inner > 0, _late(inner / bandwidth, latency, slack, busy, slots), 0
        )
        # loads and stores are two queues, each with a limit of its own in flight
        transfers = np.maximum(
            np.maximum(loaded / bandwidth, store * tiled / write_bandwidth),
            (loaded + store * tiled) / dram.bytes_per_cycle,
        )
        issue = (
            every * (commands + len(reads) + 2) + tiled * (len(work.chain) + 1)
        ) * command_cycles(machine)
        steady = np.maximum(
            np.maximum(matrix * every, between * every) + exposed, np.maximum(transfers, issue)
        )
        # a tile's sums are free again when they have left the array and the vector unit
        steady = np.maximum(steady, tiled * (matrix * every / tiled + turnaround + stages) / copies)
        steady = steady + (transfers + matrix * every) * CONTENTION
        cycles = (
            steady
            + tiled * 8
            + first / bandwidth
            + latency
            + vector
            + np.minimum(matrix * every, steady) / tiled
        )
        cycles = cycles * spread
        cycles = _where(fits & (used <= capacity), cycles, np.inf)
        index = int(np.argmin(cycles))
        if np.isfinite(cycles[index]) and (best is None or cycles[index] < best.cycles):
            best = Tiling(tuple(int(t[index]) for t in tiles), order, float(cycles[index]))
    return best


def _bands(work: Work, tiles: Sequence[Any]) -> Any:
    """Whether tiles are bands of the output: whole behind the first axis that is divided.

    What reads a resident tensor can begin with its first bands while the last are being made.
    """
    out: Any = np.ones_like(tiles[0], np.bool_)
    outer: Any = np.ones_like(tiles[0], np.bool_)  # all axes so far have tiles of one element
    columns = {d for d, a in enumerate(work.output.map.coeffs[-1]) if a}
    for row in work.output.map.coeffs[:-1]:
        for d in (d for d, a in enumerate(row) if a and d not in columns):
            out = out & (outer | (tiles[d] == work.domain[d]))
            outer = outer & (tiles[d] == 1)
    return out


def _late(transfer: Any, latency: int, slack: Any, busy: Any, slots: int) -> Any:
    """Cycles by which a tile's load is late, each time.

    Where the control processor is ahead by all of a tile (`busy` cycles), a load starts as soon as
    its slot is free, and a slot is taken while it is loaded and while it is used.
    """
    pipelined = np.maximum(transfer - busy, (transfer + latency - busy * (slots - 1)) / slots)
    return np.maximum(_where(slack >= busy, pipelined, transfer + latency - slack), 0)


def _slack(matrix: Any, commands: Any, machine: Machine) -> Any:
    """Cycles of work queued when the control processor issues the next tile's loads.

    It issues in program order and stops at a full queue, so that it runs ahead of the matrix unit
    by no more commands than its queue holds.
    """
    depth = machine.control.queue_depths.get("matrix", 1)
    return matrix / commands * np.minimum(commands, depth)


def _repeats(operand: Operand, order: Sequence[int], counts: Sequence[Any]) -> Any:
    """How often a tile of `operand` is loaded: all loops around the innermost one it depends on."""
    uses = depends(operand.map)
    trips: Any = np.ones_like(counts[0])
    inside: Any = np.zeros_like(counts[0], np.bool_)
    for d in reversed(order):
        inside = inside | (uses[d] & (counts[d] > 1))
        trips = trips * _where(inside, counts[d], 1)
    return trips


_cache: dict[tuple[Work, str, int], Tiling | None] = {}


def _attempts(work: Work) -> Iterator[Attempt]:
    """In order of preference."""
    taps = math.prod(work.domain[d] for d in work.roles.k)
    if work.kind in WINDOWS and taps < LARGE_WINDOW:
        yield Attempt(2, whole_windows=True)
        yield Attempt(1, whole_windows=True)
    yield Attempt(2)
    yield Attempt(1)
    if work.small:
        yield Attempt(1, small=True)


def select(work: Work, machine: Machine, capacity: int | None = None) -> Tiling | None:
    """The tiling of a nest for a machine; None if not even the smallest tiles fit.

    `capacity`: bytes of scratchpad it may use, when not all.
    """
    capacity = machine.scratchpad.bytes if capacity is None else capacity
    key = (work, repr(machine), capacity)
    if key not in _cache:
        tried = (_evaluate(work, machine, attempt, capacity) for attempt in _attempts(work))
        _cache[key] = next((tiling for tiling in tried if tiling is not None), None)
    return _cache[key]
