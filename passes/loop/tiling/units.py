"""Cycles of the matrix and vector units for tiles of a nest, by the formulas of `targets.cycles`.

As in `tiles`, tile sizes and results are arrays with an entry for every candidate.  Commands are
those that lower-to-npu makes of a leaf: as much of the reduction as one takes, then columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....backends.targets.cycles import (
    array_drain,
    columns_limit,
    issue_cycles,
    reduction_cycles,
    reduction_limit,
    stationary_operand,
    stationary_tile,
    step_cycles,
    sum_wait,
    vector_cycles,
    window_tile,
)
from ....backends.targets.machine import Machine
from ....dialects.npu.isa import WINDOWS
from .classify import takes_windows
from .tiles import accesses, coalesced, where
from .work import Work

COMMAND_WORDS = 22
"""Typical size of an encoded command, which the control processor fetches."""


def command_cycles(machine: Machine) -> int:
    """Cycles of the control processor per command."""
    return issue_cycles(machine.control, COMMAND_WORDS)


def sum_slots(machine: Machine) -> int:
    """Most slots of an accumulator tile: more than two hide long pipelines (double-buffer)."""
    return 2 if machine.accumulator.regions > 1 else 4


def unrolls(machine: Machine) -> bool:
    """Whether unroll-tiles takes loops apart: the array has a pipeline to keep full across layers.

    Where banks are ranges of addresses, the two slots of a loop's buffers keep queues out of each
    other's banks.
    """
    return machine.scratchpad.regions == 1 and machine.matrix.dataflow != "dot-product"


def turnaround_cycles(machine: Machine) -> int:
    """Cycles of the matrix unit before the first and after the last row of a tile."""
    unit = machine.matrix
    filling = 0 if unit.dataflow == "dot-product" else unit.rows + 2
    return array_drain(machine) + filling


def matrix_work(work: Work, tiles: Sequence[Any], machine: Machine) -> tuple[Any, Any]:
    """(cycles, commands) of the matrix unit for one tile of a product."""
    assert work.b is not None
    sparse = work.sparse is not None
    unit, width = machine.unit(sparse), machine.scratchpad.width
    a, b, sums = work.reads[work.a], work.reads[work.b], replace(work.output, resident=False)
    one: Any = np.ones_like(tiles[0])
    left: Any = one * reduction_limit(unit)
    held, commands = one, one  # reduction of one command
    for size in reversed(coalesced(work.roles.k, (a, b), tiles)):  # as fit_rows of lower-to-npu
        fits = size <= left
        commands = commands * where(fits, 1, -(-size // np.maximum(left, 1)))
        held = held * where(fits, size, np.maximum(np.minimum(left, size), 1))
        left = where(fits, left // size, 1)
    in_place = unit.dataflow == "output-stationary"
    down = commands * (one if in_place else -(-held // unit.rows))
    across = columns_limit(unit, held)
    columns, blocks = one, one  # of one command: the innermost dimension, as far as it takes it
    found: Any = np.zeros_like(tiles[0], np.bool_)
    for size in reversed(coalesced(work.roles.n, (b, sums), tiles)):
        here = ~found & (size > 1)
        columns = where(here, np.minimum(size, across), columns)
        blocks = blocks * where(here, -(-size // unit.columns), size)
        commands = commands * where(here, -(-size // across), size)
        found = found | here
    rows: Any = one
    for d in work.roles.m:
        rows = rows * tiles[d]
    passes = down * blocks
    kept = stationary_operand(unit)
    if kept == 0:  # blocks of rows stay, columns stream
        passes = commands * (one if in_place else -(-held // unit.rows)) * -(-rows // unit.columns)
        read = np.minimum(rows, unit.columns) * -(-np.minimum(held, unit.rows) // width)
    else:
        here = np.minimum(columns, unit.columns)
        read = b.stored(np.minimum(held, unit.rows)) * -(-here // width)
    if in_place:
        passes = passes * -(-rows // (unit.rows * unit.pixels))
    # the rows that stream through the array come from one bank, anew for each tile of columns
    moving, dims, again = (
        (b, work.roles.n, -(-rows // unit.columns)) if kept == 0 else (a, work.roles.m, blocks)
    )
    reading = accesses(moving, tiles, (*dims, *work.roles.k), width) * again
    reading = reading // machine.scratchpad.region_ports
    for d in work.roles.batch:
        commands, passes, reading = commands * tiles[d], passes * tiles[d], reading * tiles[d]
    k = held if in_place else np.minimum(held, unit.rows)
    m = np.minimum(rows, unit.columns) if kept == 0 else rows
    n = columns if kept == 0 else np.minimum(columns, unit.columns)
    each = step_cycles(unit, *stationary_tile(machine, m, n, k, read, sparse))
    waiting = 0 if in_place else (passes - passes // down) * sum_wait(unit, each)
    return np.maximum(passes * each + waiting, reading), commands


def window_work(work: Work, tiles: Sequence[Any], machine: Machine) -> tuple[Any, Any]:
    """(cycles, commands) of one tile whose windows the array takes."""
    positions, taps = np.ones_like(tiles[0]), np.ones_like(tiles[0])
    for d in work.parallel:
        if d != work.inner:
            positions = positions * tiles[d]
    for d in work.roles.k:
        taps = taps * tiles[d]
    channels = np.ones_like(tiles[0]) if work.inner is None else tiles[work.inner]
    read = taps * -(-channels // machine.scratchpad.width) * (work.kind == "vmac")
    groups, stream, loading = window_tile(machine, positions, taps, channels, read)
    return groups * step_cycles(machine.matrix, stream, loading), np.ones_like(tiles[0])


def vector_work(work: Work, tiles: Sequence[Any], machine: Machine) -> tuple[Any, Any]:
    """(cycles of the elementwise stages of one tile, cycles of one part of its windows)."""
    unit = machine.vector
    points: Any = np.ones_like(tiles[0])
    for d in work.parallel:
        points = points * tiles[d]
    inner = work.inner
    channels = tiles[inner] if inner is not None else np.ones_like(tiles[0])
    window: Any = np.zeros(1)
    groups: Any = -(-points // unit.lanes)
    total = sum((vector_cycles(unit, c, groups) for c in work.chain), np.zeros(1))
    if work.kind in WINDOWS and not takes_windows(work.kind, machine):
        taps = np.ones_like(tiles[0])
        for d in work.roles.k:
            taps = taps * tiles[d]
        # positions share a group only as far as whole channels do: narrower tiles are scattered
        row = work.domain[inner] if inner is not None else unit.lanes
        window = reduction_cycles(unit, work.kind, points // channels, taps, channels, row)
    return total, window
