"""What commands cost: the formulas of `docs/timing.md`, as functions of a machine and of sizes.

The one definition of them.  The simulator times commands by it; tiling, packing, placement and
prefetching estimate by it, so that the compiler's model cannot drift from the machine it is of.
Sizes may be whole numbers or numpy arrays of them (tiling judges thousands of tiles at once)
where this says so; the result is an array if one of them is.

    matrix_cycles(machine, 64, 16, 16, 16)  ->  work 64, before 16, after 34    (a 16 x 16 array)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...dialects.sparsity import compressed_bytes
from .machine import Control, Machine, MatrixUnit, VectorUnit

Count = Any
"""A whole number, or an array of them."""
Dims = Sequence[tuple[int, int]]
"""(size, stride in bytes) of the dimensions of an access."""


class Phases(NamedTuple):
    """Cycles for which a unit is occupied, and before and after that, while others may use it."""

    work: int
    before: int = 0
    after: int = 0


def _arrays(*values: object) -> bool:
    return any(isinstance(v, np.ndarray) for v in values)


def greatest(x: Count, y: Count) -> Count:
    """The greater one, element by element."""
    return np.maximum(x, y) if _arrays(x, y) else max(x, y)


def least(x: Count, y: Count) -> Count:
    """The lesser one, element by element."""
    return np.minimum(x, y) if _arrays(x, y) else min(x, y)


def whole(cycles: Count) -> Count:
    """Whole cycles: rounded up, but for errors of floating point."""
    exact = cycles - 1e-9
    return np.ceil(exact) if _arrays(exact) else math.ceil(exact)


# --- memories ---


def contiguous(dims: Dims, element: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Length in bytes of the innermost contiguous run; the (size, stride) dims outside it.

    Dimensions are taken in order of stride; size 1 and stride 0 (broadcast) do not count.
    """
    run, outer = element, list[tuple[int, int]]()
    for size, stride in sorted(((n, abs(s)) for n, s in dims if n > 1 and s), key=lambda d: d[1]):
        if stride == run and not outer:
            run *= size
        else:
            outer.append((size, stride))
    return run, tuple(outer)


def accesses(dims: Dims, element: int, width: int) -> int:
    """Accesses of `width` bytes that a memory serves for these elements, run by run."""
    run, outer = contiguous(dims, element)
    return math.prod(n for n, _ in outer) * -(-run // width)


def bursts(dims: Dims, element: int, address: int, burst: int) -> int:
    """DRAM bursts touched: contiguous runs are requests of their own, cut at burst boundaries."""
    run, outer = contiguous(dims, element)
    varying = [(n, s % burst) for n, s in outer if s % burst]
    repeat = math.prod(n for n, s in outer if s % burst == 0)
    starts = np.full(1, address % burst, np.int64)
    for n, s in varying:
        starts = (starts[:, None] + s * np.arange(n)).ravel()
        starts = starts % burst
    return repeat * int(((starts + run - 1) // burst + 1).sum())


# --- matrix unit ---


def reduction_limit(unit: MatrixUnit) -> int:
    """The longest reduction of one command."""
    if unit.dataflow == "output-stationary" and unit.max_tiles > 1:
        return 1 << 24
    return unit.rows * unit.max_tiles


def columns_limit(unit: MatrixUnit, k: Count) -> Count:
    """The most columns of one command whose reduction is `k` long; sizes may be arrays."""
    return greatest(unit.max_tiles // array_tiles(unit, 1, 1, k)[0], 1) * unit.columns


def array_tiles(unit: MatrixUnit, m: Count, n: Count, k: Count) -> tuple[Count, Count]:
    """(tiles along the reduction, tiles along the columns of the array) that a command takes.

    Of m rows, n columns and a reduction of k; sizes may be arrays.
    """
    down = 1 if unit.dataflow == "output-stationary" else -(-k // unit.rows)
    return down, -(-(m if unit.dataflow == "input-stationary" else n) // unit.columns)


def stationary_tile(
    machine: Machine, m: Count, n: Count, k: Count, accesses: Count, sparse: bool = False
) -> tuple[Count, Count]:
    """(cycles in which a stationary tile is used, cycles in which it is loaded).

    `accesses`: of the scratchpad, for the whole stationary operand; `sparse`: weights are 2:4
    compressed, and decoded as they are loaded.  Sizes may be arrays.
    """
    unit, ports = machine.unit(sparse), machine.scratchpad.region_ports
    if unit.dataflow == "output-stationary":
        block = least(m, unit.rows * unit.pixels)
        return k, -(-block // (unit.pixels * unit.preload_rows))
    down, across = array_tiles(unit, m, n, k)
    stream = -(-(n if unit.dataflow == "input-stationary" else m) // unit.pixels)
    loading = -(-accesses // (ports * down * across * machine.matrix.preload_rows))
    if unit.dataflow != "dot-product":
        loading = greatest(-(-least(k, unit.rows) // unit.preload_rows), loading)
    if sparse and (rate := machine.sparsity.decode_bytes_per_cycle):
        stored = compressed_bytes(least(k, unit.rows) * least(n, unit.columns))
        loading = greatest(whole(stored / rate), loading)
    return stream, loading


def step_cycles(unit: MatrixUnit, stream: Count, loading: Count) -> Count:
    """Cycles from one stationary tile to the next, of many; sizes may be arrays."""
    return greatest(stream, loading) if unit.double_buffered_weights else stream + loading


def stationary_operand(unit: MatrixUnit) -> int:
    """Index of the matmul operand that stays in the array: left operand, weights or sums."""
    return {"input-stationary": 0, "output-stationary": 2}.get(unit.dataflow, 1)


def sum_wait(unit: MatrixUnit, step: Count) -> Count:
    """Cycles that a tile waits to add to the sums of the one before it; `step` may be an array."""
    return greatest(unit.accumulate_latency - step, 0)


def array_drain(machine: Machine) -> int:
    """Cycles from the last row entering the array to its last result's leaving it."""
    unit = machine.matrix
    crossing = 0 if unit.dataflow == "dot-product" else unit.rows + unit.columns - 2
    return machine.scratchpad.latency + crossing


def matrix_cycles(
    machine: Machine, m: int, n: int, k: int, accesses: int, sparse: bool = False
) -> Phases:
    """Cycles of a matmul of m rows, n columns and reduction k.

    `accesses`: of the scratchpad, for the whole stationary operand, 2:4 compressed if `sparse`.
    The unit steps through tiles of rows x columns, along the reduction first; loading the next one
    is hidden behind the present one if double-buffered.
    """
    unit = machine.unit(sparse)
    stream, loading = stationary_tile(machine, m, n, k, accesses, sparse)
    step, (down, across) = step_cycles(unit, stream, loading), array_tiles(unit, m, n, k)
    if unit.dataflow == "output-stationary":
        tiles = -(-m // (unit.rows * unit.pixels)) * across
        work = stream if tiles == 1 else tiles * step
    else:
        waiting = (down - 1) * across * sum_wait(unit, step)
        work = stream + (down * across - 1) * step + waiting
    return Phases(work, loading, array_drain(machine))


def window_tile(
    machine: Machine, positions: Count, taps: Count, channels: Count, accesses: Count
) -> tuple[Count, Count, Count]:
    """(groups of channels, cycles of a group, cycles in which its weights are read).

    Of a window on the array.  `accesses`: of the scratchpad, for all weights; sizes may be arrays.
    """
    unit = machine.matrix
    groups = -(-channels // unit.window_channels)
    loading = -(-accesses // (machine.scratchpad.region_ports * groups * unit.preload_rows))
    return groups, -(-positions // unit.pixels) * taps, loading


def window_cycles(
    machine: Machine, positions: int, taps: int, channels: int, accesses: int
) -> Phases:
    """Cycles of a window on the array, whose groups of channels it takes one after another.

    The weights of a group are read as a stationary tile of a dot-product array; `accesses` of the
    scratchpad are those of all weights.
    """
    groups, stream, loading = window_tile(machine, positions, taps, channels, accesses)
    step = step_cycles(machine.matrix, stream, loading)
    return Phases(stream + (groups - 1) * step, loading, array_drain(machine))


# --- vector unit ---


def vector_cycles(unit: VectorUnit, name: str, groups: Count) -> Count:
    """Cycles of the command `name` on so many groups of lanes: start-up, then a cost for each."""
    return unit.startup + whole(groups * float(unit.cost(name)))


def reduction_cycles(
    unit: VectorUnit,
    name: str,
    positions: Count,
    taps: Count,
    channels: Count,
    row: int | None = None,
) -> Count:
    """Cycles of the reduction `name` of `taps` elements to each of `positions` x `channels`.

    A lane takes the taps of a result one after the other.  A unit with a tree across lanes may
    instead give a group to the taps of one result, or parts of it to those of several (subtrees,
    of a power of two of lanes), and then waits once for the last sum to pass the tree's levels.
    `row` as for `VectorUnit.groups`; sizes may be arrays.
    """
    cycles = vector_cycles(unit, name, unit.groups(positions, channels, row) * taps)
    if unit.reduction != "tree":
        return cycles
    together = greatest(unit.lanes >> np.frexp(taps - 1)[1], 1)
    groups = -(-positions * channels // together) * -(-taps // unit.lanes)
    return least(cycles, vector_cycles(unit, name, groups) + (unit.lanes - 1).bit_length())


# --- transfers and issue ---


def transfer_cycles(
    machine: Machine,
    moved: Count,
    requests: Count,
    load: bool,
    port: float | None = None,
    bandwidth: float | None = None,
) -> Count:
    """Cycles of a load or store of `moved` bytes on the chip by DRAM `requests` of a whole burst.

    `port`: bytes a cycle of the DMA unit, `bandwidth` of DRAM, unless they are the machine's own.
    Sizes may be arrays.
    """
    dram = machine.dram
    latency = dram.read_latency if load else dram.write_latency
    window = dram.outstanding_reads if load else dram.outstanding_writes
    rounds = greatest(-(-requests // window) - 1, 0) * latency
    bus = requests * dram.burst_bytes / (bandwidth or dram.bytes_per_cycle)
    on_chip = whole(moved / (port or machine.dma_bytes_per_cycle))
    return greatest(greatest(on_chip, whole(bus)), greatest(requests, rounds))


def fetch_cycles(control: Control, words: int) -> int:
    """Cycles in which the control processor fetches an instruction of so many 64-bit words."""
    return math.ceil(8 * words / control.fetch_bytes_per_cycle)


def issue_cycles(control: Control, words: int) -> int:
    """Cycles of the control processor for a command of so many 64-bit words."""
    return max(fetch_cycles(control, words), control.issue_cycles)
