"""Dynamic commands as timing sees them: unit, cost, semaphores, and what they do to a kept tile.

Every core has units and semaphores of its own, numbered core after core: unit 4 * core + queue.

The matrix unit keeps its stationary tile (weights, or accumulators in an output-stationary array):
a matmul with the same tile as the one before needs no preload, unless a load or a vector command
has written to the scratchpad bytes that the tile came from.  Windows on the array displace it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from ....dialects.npu.isa import ON_ARRAY, PRODUCTS, QUEUES
from ...targets.cycles import array_tiles, stationary_operand
from ...targets.machine import Machine
from ..program import Instruction
from .costs import Cost, dram_bandwidth, site_costs
from .effort import matmul_shape
from .expand import Expansion, Place, Site


@dataclass
class Commands:
    """Dynamic commands, as parallel lists: what timing needs to know of them.

    In program order, core after core, the same number for each.  `unit[c]` runs c, `waits[c]` and
    `signals[c]` are semaphores; `control[c]`: cycles of the control processor before c is issued.
    `tile[c]`: for a matmul a key of its stationary tile (equal: no preload), `touched[c]`: for a
    matmul the scratchpad bytes of that tile, from the first to the last, for others those it writes
    (a write there ends the tile's reuse), also in the cores `others[c]`.  `sums[c]`: for a matmul a
    key of its sums, `adds[c]` whether it adds to them.  `settles[c]`: what follows on its queue may
    read what it writes, and starts when it is complete.
    """

    unit: list[int]
    control: list[int]
    cost: list[Cost]
    waits: list[tuple[int, ...]]
    signals: list[tuple[int, ...]]
    tile: list[object] = field(default_factory=list[object])
    touched: list[tuple[int, int] | None] = field(default_factory=list[tuple[int, int] | None])
    sync: list[bool] = field(default_factory=list[bool])
    others: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    sums: list[object] = field(default_factory=list[object])
    adds: list[bool] = field(default_factory=list[bool])
    settles: list[bool] = field(default_factory=list[bool])
    tail: int = 0
    cores: int = 1
    semaphores: int = 0
    bandwidth: float = 0.0
    """Of DRAM, bytes a cycle."""

    def __len__(self) -> int:
        return len(self.unit)

    @property
    def per_core(self) -> int:
        """Commands of each core."""
        return len(self.unit) // self.cores


def commands_of(expansion: Expansion, machine: Machine, semaphores: int) -> Commands:
    """What timing needs of every command; `semaphores` of each core."""
    sites, cores, n = expansion.sites, expansion.cores, expansion.per_core
    cost = [iter(site_costs(s, expansion, machine)) for s in sites]
    tile = [iter(_tiles(s, machine)) for s in sites]
    touched = [iter(_touched(s, machine)) for s in sites]
    order = expansion.site
    sums, adds = [iter(_sums(s)) for s in sites], [iter(_adds(s)) for s in sites]
    sync = [s.instruction.mnemonic == "sync" for s in sites]
    settles = [s.instruction.mnemonic == "mmax" for s in sites]
    unit: list[int] = []
    waits: list[tuple[int, ...]] = []
    signals: list[tuple[int, ...]] = []
    others: list[tuple[int, ...]] = []
    for core in range(cores):
        mine = order[core * n : (core + 1) * n]
        units = [len(QUEUES) * core + s.queue for s in sites]
        waited = [_own(s.instruction.waits, core, semaphores) for s in sites]
        signalled = [signals_of(s.instruction, core, cores, semaphores) for s in sites]
        unit += [units[s] for s in mine]
        waits += [waited[s] for s in mine]
        signals += [signalled[s] for s in mine]
        others += [sites[s].receivers[core] for s in mine]
    return Commands(
        unit=unit,
        control=expansion.control,
        cost=[next(cost[s]) for s in order],
        waits=waits,
        signals=signals,
        tile=[next(tile[s]) for s in order],
        touched=[next(touched[s]) for s in order],
        sync=[sync[s] for s in order],
        others=others,
        sums=[next(sums[s]) for s in order],
        adds=[next(adds[s]) for s in order],
        settles=[settles[s] for s in order],
        tail=expansion.tail,
        cores=cores,
        semaphores=semaphores,
        bandwidth=dram_bandwidth(machine, expansion.cored),
    )


def _own(ids: Sequence[int], core: int, semaphores: int) -> tuple[int, ...]:
    return tuple(core * semaphores + s for s in ids)


def signals_of(instruction: Instruction, core: int, cores: int, semaphores: int) -> tuple[int, ...]:
    """The semaphores that `core` signals, of `cores` with `semaphores` each."""
    out: list[int] = []
    for i, s in enumerate(instruction.signals):
        if instruction.all_cores >> i & 1:
            out += [other * semaphores + s + core for other in range(cores)]
        else:
            out.append(core * semaphores + s)
    return tuple(out)


def _sums(site: Site) -> list[object]:
    if site.instruction.mnemonic not in PRODUCTS:
        return [None] * site.executions
    return [(a, site.places[2].dims) for a in site.places[2].addresses]


def _adds(site: Site) -> list[bool]:
    if site.instruction.mnemonic not in PRODUCTS:
        return [False] * site.executions
    return [not x for x in site.overwrite]


def _tiles(site: Site, machine: Machine) -> list[object]:
    if site.instruction.mnemonic in ON_ARRAY.values():  # displaces every tile, and finds none
        return [(site.index, i) for i in range(site.executions)]
    if site.instruction.mnemonic == "preload":
        [place] = site.places
        return [((a,), place.dims, 0) for a in place.addresses]
    if site.instruction.mnemonic not in PRODUCTS:
        return [None] * site.executions
    kept = _kept(site, machine)
    unit = machine.unit(site.instruction.mnemonic == "smatmul")
    single = prod(array_tiles(unit, *matmul_shape(site))) == 1
    dims = [p.dims for p in kept]
    addresses = zip(*(p.addresses for p in kept), strict=True)
    return [(a, *dims, 0 if single else i) for i, a in enumerate(addresses)]


def _kept(site: Site, machine: Machine) -> list[Place]:
    """The operands of a product or preload that stay in the array."""
    if site.instruction.mnemonic == "preload":
        return site.places
    if site.instruction.mnemonic == "smatmul":
        return [site.places[1], site.places[3]]
    return [site.places[stationary_operand(machine.matrix)]]


def _touched(site: Site, machine: Machine) -> list[tuple[int, int] | None]:
    if site.instruction.mnemonic in (*PRODUCTS, "preload"):
        places = _kept(site, machine)
    elif site.instruction.mnemonic in ON_ARRAY.values():
        places = []
    else:
        places = [p for p in site.places if p.space == "spm" and p.writes()][:1]
    if not places or places[0].space != "spm":
        return [None] * site.executions
    spans = ([(a + p.low, a + p.high) for a in p.addresses] for p in places)
    ends = (zip(*each, strict=True) for each in zip(*spans, strict=True))
    return [(min(low), max(high)) for low, high in ends]


def executions(expansion: Expansion) -> list[int]:
    """Per command, which execution of its site it is."""
    seen = [0] * len(expansion.sites)
    out: list[int] = []
    for s in expansion.site:
        out.append(seen[s])
        seen[s] += 1
    return out
