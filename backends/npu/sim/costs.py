"""What each execution costs on a machine: the timing rules of `docs/timing.md`, and its traffic.

A command has three phases: `before` (DRAM latency of a load, preload of weights), `work` (the unit
is occupied; slowed down by others that share its banks or DRAM) and `after` (results on their way:
drain of the array, acknowledgement of a write).  Only `work` excludes the next command of a unit.

    load 16 rows of 64 bytes     before 100, work 64 (16 bytes a cycle), after 0
    matmul 64 x 16 x 16          before 16 (preload), work 64, after 34 (drain)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from ....dialects.errors import SimulationError
from ....dialects.npu.cores import spreads
from ....dialects.npu.isa import ON_ARRAY, PRODUCTS, WINDOWS
from ...targets.cycles import (
    Phases,
    accesses,
    array_tiles,
    bursts,
    matrix_cycles,
    reduction_cycles,
    transfer_cycles,
    vector_cycles,
    whole,
    window_cycles,
)
from ...targets.machine import Machine
from .banks import bank_keys, demand
from .effort import matmul_shape, work_place
from .expand import Expansion, Site, describe


@dataclass(frozen=True, slots=True)
class Cost:
    """Cycles of one execution, and what it takes from shared resources while it works.

    `work` includes `own_bank`, the cycles lost to conflicts among its own operands.  `banks` are
    (bank, accesses a cycle) over scratchpad then accumulator banks, `mask` the same as bits;
    `dram` is bytes of bus traffic a cycle, `bursts` the number of DRAM requests.  `network` is
    bytes a cycle that arrive in every other core, `remote` the bank accesses they make there.
    """

    work: int
    before: int = 0
    after: int = 0
    own_bank: int = 0
    dram: float = 0.0
    bursts: int = 0
    banks: tuple[tuple[int, float], ...] = ()
    mask: int = 0
    network: float = 0.0
    remote: tuple[tuple[int, float], ...] = ()


def site_costs(site: Site, expansion: Expansion, machine: Machine) -> list[Cost]:
    """The cost of every execution of `site`; equal executions share one object.

    Raises SimulationError where a command exceeds what the machine has.
    """
    name = site.instruction.mnemonic
    if name == "sync":
        return [Cost(0)] * site.executions
    alone = machine.cores > 1 and not machine.network.bytes_per_cycle
    if alone and spreads(name, site.instruction.params):
        raise SimulationError(
            f"{describe(site, expansion.layers)}: reaches other cores, but {machine.name} has no"
            " network"
        )
    if name in ("load", "store"):
        far, near = site.places
        starts = (np.asarray(far.addresses) % machine.dram.burst_bytes).tolist()
        keys = zip(far.clips, starts, bank_keys(near, machine), strict=True)
        return _each(keys, lambda i: _transfer(site, i, machine))
    if name == "send":
        moved = site.places[0].element * math.prod(n for n, _ in site.places[0].dims)
        phases = Phases(whole(moved / _port(site, machine)), 0, machine.network.latency)
    elif name == "preload":
        return [_preload(site, expansion, machine)] * site.executions
    elif name in PRODUCTS:
        phases = _matmul(site, expansion, machine)
    elif name in ON_ARRAY.values():
        phases = _window(site, expansion, machine)
    else:
        phases = Phases(_vector(site, machine))
    overwrite = site.overwrite or [True] * site.executions
    keys = zip(*(bank_keys(p, machine) for p in site.places), overwrite, strict=True)
    return _each(keys, lambda i: _with_banks(site, i, machine, phases))


def _each(keys: Iterable[Hashable], cost_of: Callable[[int], Cost]) -> list[Cost]:
    """A cost per key, computed for the first execution that has it."""
    cache: dict[Hashable, Cost] = {}
    out: list[Cost] = []
    for i, key in enumerate(keys):
        if (cost := cache.get(key)) is None:
            cost = cache[key] = cost_of(i)
        out.append(cost)
    return out


def _matmul(site: Site, expansion: Expansion, machine: Machine) -> Phases:
    sparse, (m, n, k) = site.instruction.mnemonic == "smatmul", matmul_shape(site)
    if sparse and not machine.sparse:
        raise SimulationError(
            f"{describe(site, expansion.layers)}: {machine.name} takes no 2:4-compressed weights"
        )
    unit = machine.unit(sparse)
    down, across = array_tiles(unit, m, n, k)
    free = unit.dataflow == "input-stationary"  # takes any number of rows in blocks
    if down * (1 if free else across) > unit.max_tiles:
        raise SimulationError(
            f"{describe(site, expansion.layers)}: {k} x {n} weights are more than"
            f" {unit.max_tiles} tiles of {unit.rows} x {unit.columns}"
        )
    kept = (1, 3) if sparse else (0,) if free else (1,)
    read = sum(accesses(site.places[i].dims, 1, machine.scratchpad.width) for i in kept)
    return matrix_cycles(machine, m, n, k, read, sparse)


def _preload(site: Site, expansion: Expansion, machine: Machine) -> Cost:
    [place], unit = site.places, machine.matrix
    n, k = place.dims[-1][0], math.prod(n for n, _ in place.dims[:-1])
    if unit.dataflow not in ("weight-stationary", "dot-product"):
        raise SimulationError(
            f"{describe(site, expansion.layers)}: the array of {machine.name} keeps no weights"
        )
    if math.prod(array_tiles(unit, 1, n, k)) > 1:
        raise SimulationError(
            f"{describe(site, expansion.layers)}: {k} x {n} weights are more than one tile of"
            f" {unit.rows} x {unit.columns}"
        )
    read = accesses(place.dims, 1, machine.scratchpad.width)
    return Cost(0, matrix_cycles(machine, 1, n, k, read).before)


def _window(site: Site, expansion: Expansion, machine: Machine) -> Phases:
    if not machine.matrix.window_channels:
        raise SimulationError(
            f"{describe(site, expansion.layers)}: the array of {machine.name} takes no windows"
        )
    weights = 0
    if site.instruction.mnemonic == "mmac":
        weights = accesses(site.places[1].dims, 1, machine.scratchpad.width)
    return window_cycles(machine, *_window_shape(site), weights)


def _window_shape(site: Site) -> tuple[int, int, int]:
    """(positions, taps, channels) of a window."""
    sizes, rank = [n for n, _ in work_place(site).dims], site.instruction.params["p_rank"]
    return math.prod(sizes[:rank]), math.prod(sizes[rank:-1]), sizes[-1]


def _vector(site: Site, machine: Machine) -> int:
    name, unit = site.instruction.mnemonic, machine.vector
    if name in WINDOWS:
        return reduction_cycles(unit, name, *_window_shape(site))
    groups = -(-math.prod(n for n, _ in work_place(site).dims) // unit.lanes)
    return vector_cycles(unit, name, groups)


def _port(site: Site, machine: Machine) -> float:
    """Bytes a cycle that a DMA queue moves, into the network if the command reaches other cores."""
    network = machine.network.bytes_per_cycle
    if network and site.receivers[0]:
        return min(machine.dma_bytes_per_cycle, network)
    return machine.dma_bytes_per_cycle


def dram_bandwidth(machine: Machine, cored: bool) -> float:
    """Bytes a cycle of DRAM that a program may use: all with a core level, else a core's share."""
    return machine.dram.bytes_per_cycle * (machine.cores if cored else 1)


def _transfer(site: Site, i: int, machine: Machine) -> Cost:
    """The cost of execution `i` of a load or store, whose box may be clipped."""
    (far, near), load = site.places, site.instruction.mnemonic == "load"
    dram, dims = machine.dram, far.clipped(i)
    empty = any(n == 0 for n, _ in dims)
    count = 0 if empty else bursts(dims, far.element, far.addresses[i], dram.burst_bytes)
    moved = near.element * math.prod(n for n, _ in (near.dims if load else dims))
    port, bandwidth = _port(site, machine), dram_bandwidth(machine, site.cored)
    work = transfer_cycles(machine, moved, count, load, port, bandwidth)
    before, after = (dram.read_latency, 0) if load else (0, dram.write_latency)
    before, after = (before, after) if count else (0, 0)
    if site.instruction.params.get("broadcast"):
        after += machine.network.latency
    return _with_banks(site, i, machine, Phases(work, before, after), count)


def _with_banks(site: Site, i: int, machine: Machine, phases: Phases, requests: int = 0) -> Cost:
    """The cost of execution `i` with its bank demands; its own conflicts lengthen its work."""
    asked = demand(site, i, machine)
    work = max(asked.cycles, phases.work)
    each = max(work, 1)
    return Cost(
        work,
        phases.before,
        phases.after,
        work - phases.work,
        requests * machine.dram.burst_bytes / each,
        requests,
        tuple(sorted((b, n / work) for b, n in asked.own.items())),
        sum(1 << b for b in asked.own),
        asked.network / each if machine.network.bytes_per_cycle else 0.0,
        tuple(sorted((b, n / work) for b, n in asked.remote.items())),
    )
