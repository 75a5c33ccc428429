"""What each execution costs on a machine: the timing rules of `docs/timing.md`, and its traffic.

A command has three phases: `before` (DRAM latency of a load, preload of weights), `work` (the unit
is occupied; slowed down by others that share its banks or DRAM) and `after` (results on their way:
drain of the array, acknowledgement of a write).  Only `work` excludes the next command of a unit.

    load 16 rows of 64 bytes     before 100, work 64 (16 bytes a cycle), after 0
    matmul 64 x 16 x 16          before 16 (preload), work 64, after 34 (drain)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....dialects.constants import Array
from ....dialects.errors import SimulationError
from ....dialects.npu.isa import ON_ARRAY, WINDOWS, spreads
from ...targets.machine import Machine, Memory
from .expand import Dims, Expansion, Place, Site, describe

ON_CHIP = ("spm", "acc")


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


@dataclass(frozen=True, slots=True)
class Effort:
    """Work of one execution of a site that does not depend on addresses."""

    macs: int = 0
    matrix_macs: int = 0
    vector_elements: int = 0
    vector_cycles: float = 0.0  # without rounding up to whole groups of lanes: a lower bound
    spm_bytes: int = 0
    acc_bytes: int = 0
    network_bytes: int = 0


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


def effort(site: Site, machine: Machine) -> Effort:
    """MACs, vector work and on-chip traffic of one execution of `site`."""
    spm = sum(_bytes(p) for p in site.places if p.space == "spm")
    if spreads(site.instruction.mnemonic, site.instruction.params):
        sent = (site.cores - 1) * _bytes(site.places[1])
        return Effort(spm_bytes=spm + sent, network_bytes=sent)
    acc = sum(_bytes(p) for p in site.places if p.space == "acc")
    name, v = site.instruction.mnemonic, machine.vector
    if name == "matmul":
        m, n, k = matmul_shape(site)
        return Effort(m * n * k, m * n * k, spm_bytes=spm, acc_bytes=acc)
    if name in ON_ARRAY.values():
        taken = math.prod(n for n, _ in _work_place(site).dims)
        return Effort(taken if name == "mmac" else 0, taken, spm_bytes=spm, acc_bytes=acc)
    if site.places and name.startswith("v"):
        elements = math.prod(n for n, _ in _work_place(site).dims)
        macs = elements if name == "vmac" else 0
        cycles = elements / v.lanes * v.cost(name)
        return Effort(macs, 0, elements, cycles, spm, acc)
    return Effort(spm_bytes=spm, acc_bytes=acc)


def _bytes(place: Place) -> int:
    return place.element * math.prod(n for n, s in place.dims if s or n == 1)


def _work_place(site: Site) -> Place:
    """The operand whose elements are a command's work: a of windows, acc, or dst of vfill."""
    return site.places[0]


def matmul_shape(site: Site) -> tuple[int, int, int]:
    """(rows, columns, reduction) of a matmul."""
    a, b, _ = site.places
    rows = site.instruction.params["m_rank"]
    m = math.prod(n for n, _ in a.dims[:rows])
    return m, b.dims[-1][0], math.prod(n for n, _ in a.dims[rows:])


def site_costs(site: Site, expansion: Expansion, machine: Machine) -> list[Cost]:
    """The cost of every execution of `site`; equal executions share one object.

    Raises SimulationError where a matmul exceeds the array.
    """
    if site.instruction.mnemonic == "sync":
        return [Cost(0)] * site.executions
    alone = machine.cores > 1 and not machine.network.bytes_per_cycle
    if alone and spreads(site.instruction.mnemonic, site.instruction.params):
        raise SimulationError(
            f"{describe(site, expansion.layers)}: reaches other cores, but {machine.name} has no"
            " network"
        )
    if site.instruction.mnemonic in ("load", "store"):
        return _dma_costs(site, machine)
    if site.instruction.mnemonic == "send":
        work, before, after = _send_cycles(site, machine), 0, machine.network.latency
    elif site.instruction.mnemonic == "matmul":
        m, n, k = matmul_shape(site)
        down, across = array_tiles(machine, m, n, k)
        free = machine.matrix.dataflow == "input-stationary"  # takes any number of rows in blocks
        if down * (1 if free else across) > machine.matrix.max_tiles:
            raise SimulationError(
                f"{describe(site, expansion.layers)}: {k} x {n} weights are more than"
                f" {machine.matrix.max_tiles} tiles of {machine.matrix.rows} x"
                f" {machine.matrix.columns}"
            )
        work, before, after = matrix_cycles(machine, m, n, k, _tile_accesses(site, machine))
    elif site.instruction.mnemonic in ON_ARRAY.values():
        if not machine.matrix.window_channels:
            raise SimulationError(
                f"{describe(site, expansion.layers)}: the array of {machine.name} takes no windows"
            )
        work, before, after = window_cycles(site, machine)
    else:
        work, before, after = vector_cycles(site, machine), 0, 0
    keys = zip(
        *(_bank_keys(p, machine) for p in site.places),
        site.overwrite or [True] * site.executions,
        strict=True,
    )
    cache: dict[tuple[object, ...], Cost] = {}
    out: list[Cost] = []
    for i, key in enumerate(keys):
        cost = cache.get(key)
        if cost is None:
            cost = cache[key] = _with_banks(site, i, machine, work, before, after)
        out.append(cost)
    return out


def matrix_cycles(
    machine: Machine, m: int, n: int, k: int, tile_accesses: int
) -> tuple[int, int, int]:
    """(work, before, after) of a matmul of m rows, n columns and reduction k.

    `tile_accesses`: scratchpad accesses that the whole stationary operand takes.  The unit steps
    through tiles of rows x columns, along the reduction first; loading the next one is hidden
    behind the present one if double-buffered.
    """
    unit = machine.matrix
    fill = machine.scratchpad.latency + unit.rows + unit.columns - 2
    down, columns = array_tiles(machine, m, n, k)
    if unit.dataflow == "output-stationary":
        block = min(m, unit.rows * unit.pixels)
        swap = -(-block // (unit.pixels * unit.preload_rows))
        tiles = -(-m // (unit.rows * unit.pixels)) * columns
        per_tile = max(k, swap) if unit.double_buffered_weights else k + swap
        return (k if tiles == 1 else tiles * per_tile), swap, fill
    tiles = down * columns
    stream = -(-(n if unit.dataflow == "input-stationary" else m) // unit.pixels)
    loading = -(-tile_accesses // (machine.scratchpad.region_ports * tiles * unit.preload_rows))
    if unit.dataflow != "dot-product":
        loading = max(-(-min(k, unit.rows) // unit.preload_rows), loading)
    after = machine.scratchpad.latency if unit.dataflow == "dot-product" else fill
    step = max(stream, loading) if unit.double_buffered_weights else stream + loading
    waiting = (down - 1) * columns * max(unit.accumulate_latency - step, 0)  # for its own sums
    return stream + (tiles - 1) * step + waiting, loading, after


def window_cycles(site: Site, machine: Machine) -> tuple[int, int, int]:
    """(work, before, after) of a window on the array, which takes a group of channels at a time.

    The weights of a group are read as a stationary tile of a dot-product array.
    """
    unit, place = machine.matrix, _work_place(site)
    sizes, p_rank = [n for n, _ in place.dims], site.instruction.params["p_rank"]
    groups = -(-sizes[-1] // unit.window_channels)
    stream = -(-math.prod(sizes[:p_rank]) // unit.pixels) * math.prod(sizes[p_rank:-1])
    loading = 0
    if site.instruction.mnemonic == "mmac":
        weights = accesses(site.places[1].dims, 1, machine.scratchpad.width)
        loading = -(-weights // (machine.scratchpad.region_ports * groups * unit.preload_rows))
    step = max(stream, loading) if unit.double_buffered_weights else stream + loading
    drain = 0 if unit.dataflow == "dot-product" else unit.rows + unit.columns - 2
    return stream + (groups - 1) * step, loading, machine.scratchpad.latency + drain


def array_tiles(machine: Machine, m: int, n: int, k: int) -> tuple[int, int]:
    """(tiles along the reduction, tiles along the columns of the array) that a command takes."""
    unit = machine.matrix
    down = 1 if unit.dataflow == "output-stationary" else -(-k // unit.rows)
    return down, -(-(m if unit.dataflow == "input-stationary" else n) // unit.columns)


def stationary_operand(machine: Machine) -> int:
    """Index of the matmul operand that stays in the array: left operand, weights or sums."""
    return {"input-stationary": 0, "output-stationary": 2}.get(machine.matrix.dataflow, 1)


def _tile_accesses(site: Site, machine: Machine) -> int:
    kept = site.places[0 if machine.matrix.dataflow == "input-stationary" else 1]
    return accesses(kept.dims, 1, machine.scratchpad.width)


def _send_cycles(site: Site, machine: Machine) -> int:
    moved = site.places[0].element * math.prod(n for n, _ in site.places[0].dims)
    return math.ceil(moved / _port(site, machine) - 1e-9)


def _port(site: Site, machine: Machine) -> float:
    """Bytes a cycle that a DMA queue moves, into the network if the command reaches other cores."""
    network = machine.network.bytes_per_cycle
    if network and site.cores > 1 and spreads(site.instruction.mnemonic, site.instruction.params):
        return min(machine.dma_bytes_per_cycle, network)
    return machine.dma_bytes_per_cycle


def dram_bandwidth(machine: Machine, cored: bool) -> float:
    """Bytes a cycle of DRAM that a program may use: all with a core level, else a core's share."""
    return machine.dram.bytes_per_cycle * (machine.cores if cored else 1)


def vector_cycles(site: Site, machine: Machine) -> int:
    """Cycles of a vector command: start-up, then one cost per group of lanes."""
    name, v = site.instruction.mnemonic, machine.vector
    sizes = [n for n, _ in _work_place(site).dims]
    if name in WINDOWS:
        rank = site.instruction.params["p_rank"]
        positions, taps, channels = math.prod(sizes[:rank]), math.prod(sizes[rank:-1]), sizes[-1]
        groups = v.groups(positions, channels) * taps
    else:
        groups = -(-math.prod(sizes) // v.lanes)
    return v.startup + math.ceil(groups * v.cost(name) - 1e-9)


def _dma_costs(site: Site, machine: Machine) -> list[Cost]:
    """Loads and stores: one cost per (clipped box, alignment to bursts, banks)."""
    far, near = site.places
    burst = machine.dram.burst_bytes
    cache: dict[tuple[object, ...], Cost] = {}
    out: list[Cost] = []
    keys = zip(
        far.clips,
        (np.asarray(far.addresses) % burst).tolist(),
        _bank_keys(near, machine),
        strict=True,
    )
    for i, key in enumerate(keys):
        cost = cache.get(key)
        if cost is None:
            cost = cache[key] = _dma_cost(site, i, far, near, machine)
        out.append(cost)
    return out


def _dma_cost(site: Site, i: int, far: Place, near: Place, machine: Machine) -> Cost:
    dram, load = machine.dram, site.instruction.mnemonic == "load"
    latency = dram.read_latency if load else dram.write_latency
    window = dram.outstanding_reads if load else dram.outstanding_writes
    dims = far.clipped(i)
    count = (
        0
        if any(n == 0 for n, _ in dims)
        else bursts(dims, far.element, far.addresses[i], dram.burst_bytes)
    )
    moved = near.element * math.prod(n for n, _ in (near.dims if load else dims))
    rounds = max(-(-count // window) - 1, 0) * latency
    bus = count * dram.burst_bytes
    work = max(
        math.ceil(moved / _port(site, machine) - 1e-9),
        count,
        math.ceil(bus / dram_bandwidth(machine, site.cored) - 1e-9),
        rounds,
    )
    before, after = (latency, 0) if load else (0, latency)
    before, after = (before, after) if count else (0, 0)
    if site.instruction.params.get("broadcast"):
        after += machine.network.latency
    return _with_banks(site, i, machine, work, before, after, bus, count)


def _bank_keys(place: Place, machine: Machine) -> list[int]:
    """The bank that each execution's operand lies in; where it spans several, its own address."""
    memory = _memory(place, machine)
    if memory is None or memory.regions == 1:
        return [0] * len(place.addresses)
    bank, address = memory.bytes // memory.regions, np.asarray(place.addresses, np.int64)
    first, last = (address + place.low) // bank, (address + place.high - 1) // bank
    keys: Array = np.where(first == last, first, -1 - address)
    return keys.tolist()


def _memory(place: Place, machine: Machine) -> Memory | None:
    return {"spm": machine.scratchpad, "acc": machine.accumulator}.get(place.space)


def _with_banks(
    site: Site,
    i: int,
    machine: Machine,
    work: int,
    before: int,
    after: int,
    bus: int = 0,
    count: int = 0,
) -> Cost:
    """The cost of execution `i` with its bank demands; its own conflicts lengthen `work`."""
    load: dict[int, float] = {}
    ports: dict[int, int] = {}
    remote: dict[int, float] = {}
    network = 0
    away = 1 if spreads(site.instruction.mnemonic, site.instruction.params) else -1
    stationary = streamed = -1
    down = across = 1
    if site.instruction.mnemonic == "matmul":  # rows of a pass once for each tile of columns
        down, across = array_tiles(machine, *matmul_shape(site))
        stationary, streamed = stationary_operand(machine), 0
        if stationary == 0:
            streamed = 1
    elif site.instruction.mnemonic == "mmac":
        stationary = 1
    for index, place in enumerate(site.places):
        memory = _memory(place, machine)
        if memory is None or (index == stationary and place.space == "spm"):
            continue  # weights are read by the preload, which does not contend
        amount = accesses(place.dims, place.element, memory.width)
        if place.spec.direction == "rw":  # each pass reads and writes, the first may only write
            amount *= 2 * down - site.overwrite[i]
        elif index == streamed:
            amount *= across
        size, first = (
            memory.bytes // memory.regions,
            0 if place.space == "spm" else machine.scratchpad.regions,
        )
        low, high = place.addresses[i] + place.low, place.addresses[i] + place.high
        for bank in range(low // size, (high - 1) // size + 1):
            share = (min(high, (bank + 1) * size) - max(low, bank * size)) / (high - low)
            load[first + bank] = load.get(first + bank, 0.0) + amount * share
            ports[first + bank] = memory.region_ports
            if index == away and site.cores > 1:
                remote[first + bank] = amount * share
        if index == away and site.cores > 1:
            network = place.element * math.prod(n for n, _ in place.dims)
    needed = max((math.ceil(n / ports[b] - 1e-9) for b, n in load.items()), default=0)
    own, work = max(needed - work, 0), max(needed, work)
    demand = tuple(sorted((b, n / work) for b, n in load.items()))
    return Cost(
        work,
        before,
        after,
        own,
        bus / work if work else 0.0,
        count,
        demand,
        sum(1 << b for b in load),
        network / work if work and machine.network.bytes_per_cycle else 0.0,
        tuple(sorted((b, n / work) for b, n in remote.items())),
    )


def bank_ports(machine: Machine) -> Sequence[int]:
    """Accesses a cycle of every bank, scratchpad then accumulator."""
    spm, acc = machine.scratchpad, machine.accumulator
    return (spm.region_ports,) * spm.regions + (acc.region_ports,) * acc.regions
