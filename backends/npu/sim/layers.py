"""Work, bytes and energy, in all and by layer: the rows that users read in terms of ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from ....dialects.npu.isa import QUEUES
from ...targets.machine import Machine
from .attribution import layer_units, moments
from .bounds import Compulsory, LayerShape, LayerWork, lower_bound, work_bound
from .costs import Cost
from .counters import Gap
from .effort import Effort
from .expand import Expansion
from .timing import Schedule


@dataclass(frozen=True)
class Traffic:
    """Work and bytes: payload read from and written to DRAM, bus bytes (whole bursts), on chip.

    `weight_bytes` are those of `dram_read_bytes` that are constants.
    `network_bytes` count once for every core that receives them.
    """

    macs: int = 0
    matrix_macs: int = 0
    vector_elements: int = 0
    vector_cycles: float = 0.0
    spm_bytes: int = 0
    acc_bytes: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    dram_bus_bytes: int = 0
    weight_bytes: int = 0
    network_bytes: int = 0


@dataclass(frozen=True)
class Layer:
    """One layer (ONNX nodes) of a program.

    It is in progress from cycle `start` to `end`; layers overlap.  `cycles` = end - start is what
    compares with `lower_bound_cycles`; `exclusive_cycles` (by which its completion moved the end of
    everything so far) add up to the program's total.  `busy` is per unit, `unit` the busiest;
    `work` is the same by instruction.  `attribution` says per unit where the exclusive cycles of
    all cores went (`sim.attribution`).  `matrix_macs` are those of its commands, partial tiles
    included; `bus_bytes` are DRAM traffic in whole bursts, `weight_bytes` the constants loaded.
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
    matrix_macs: int = 0
    weight_bytes: int = 0
    bus_bytes: int = 0
    work: dict[str, int] = field(default_factory=dict[str, int])
    attribution: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    shapes: tuple[LayerShape, ...] = ()

    @property
    def name(self) -> str:
        """The nodes' names, joined."""
        return " + ".join(self.nodes) or f"#{self.index}"


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
            spm_bytes=n * e.spm_bytes, acc_bytes=n * e.acc_bytes, network_bytes=n * e.network_bytes,
        )  # fmt: skip
        for place in (p for p in site.places if p.in_dram):
            clips = np.asarray(place.clips, np.int64).reshape(n, -1, 2)
            moved = int((clips[..., 1] - clips[..., 0]).prod(axis=1).sum()) * place.element
            add(
                site.instruction.layer,
                **{f"dram_{'write' if place.writes() else 'read'}_bytes": moved},
                weight_bytes=moved if place.space == "const" else 0,
            )
    for c, x in enumerate(expansion.site):
        if costs[c].bursts:
            add(
                expansion.sites[x].instruction.layer,
                dram_bus_bytes=costs[c].bursts * machine.dram.burst_bytes,
            )
    return [_traffic(row) for row in sums]


def _traffic(sums: dict[str, float]) -> Traffic:
    cycles = sums.pop("vector_cycles", 0.0)
    return Traffic(**{k: int(v) for k, v in sums.items()}, vector_cycles=cycles)


def total(parts: Sequence[Traffic]) -> Traffic:
    """The sum over layers."""
    return _traffic({f.name: sum(getattr(p, f.name) for p in parts) for f in fields(Traffic)})


def energy(t: Traffic, cycles: int, machine: Machine) -> dict[str, float]:
    """PJ by kind; DRAM counts whole bursts, idle power all cycles of all cores."""
    e = machine.energy
    network = {"network": t.network_bytes * e.network_byte} if t.network_bytes else {}
    return {
        "mac": t.matrix_macs * e.mac,
        "vector": t.vector_elements * e.vector,
        "scratchpad": t.spm_bytes * e.spm_byte,
        "accumulator": t.acc_bytes * e.acc_byte,
        "dram": t.dram_bus_bytes * e.dram_byte,
        **network,
        "idle": cycles * machine.cores * e.idle_cycle,
    }


def layer_rows(
    expansion: Expansion, costs: Sequence[Cost], s: Schedule, idle: Sequence[Sequence[Gap]],
    parts: Sequence[Traffic], compulsory: Compulsory, machine: Machine,
    work: Sequence[LayerWork] = (),
) -> list[Layer]:  # fmt: skip
    """One row per layer that has commands, by layer index; `work` as in `simulate`.

    `idle` are the gaps of all units.
    """
    if not expansion.site:
        return []
    site = np.asarray(expansion.site)
    layer = np.asarray([x.instruction.layer for x in expansion.sites])[site]
    unit = np.asarray([x.queue for x in expansion.sites])[site]
    busy = np.asarray([c.work - c.own_bank for c in costs])
    waiting = np.asarray(s.start) - np.asarray([c.before for c in costs])
    begin = np.maximum(waiting, np.asarray(s.accept))
    done = np.asarray(s.complete)
    owned = moments(layer, done, s.cycles)
    exclusive = owned.cycles(len(parts))
    units = layer_units(expansion, costs, s, idle, layer, owned, len(parts))
    mnemonics = sorted({x.instruction.mnemonic for x in expansion.sites})
    which = np.asarray([mnemonics.index(x.instruction.mnemonic) for x in expansion.sites])[site]
    rows: list[Layer] = []
    by_layer = np.argsort(layer, kind="stable")
    present, first = np.unique(layer[by_layer], return_index=True)
    members = dict(zip(present.tolist(), np.split(by_layer, first[1:]), strict=True))
    names: Sequence[Sequence[str]] = expansion.layers
    for key, mine in members.items():
        index = int(key)
        t, needed = parts[index], compulsory.by_layer.get(index, 0)
        per_unit = {q.value: int(busy[mine][unit[mine] == u].sum()) for u, q in enumerate(QUEUES)}
        spent = np.bincount(which[mine], busy[mine], len(mnemonics)).tolist()
        start, end = int(begin[mine].min()), int(done[mine].max())
        if work:
            macs = work[index].macs
            bound = work_bound(machine, [work[index]], needed)
        else:
            macs = t.macs
            bound = lower_bound(machine, t.matrix_macs, t.vector_cycles, needed)
        rows.append(
            Layer(
                index=index,
                nodes=tuple(names[index]) if index < len(names) else (),
                unit=max(per_unit, key=lambda q: per_unit[q]),
                busy=per_unit,
                start=start,
                end=end,
                cycles=end - start,
                exclusive_cycles=exclusive[index],
                lower_bound_cycles=bound,
                commands=len(mine),
                macs=macs,
                dram_bytes=t.dram_read_bytes + t.dram_write_bytes,
                compulsory_bytes=needed,
                matrix_macs=t.matrix_macs,
                weight_bytes=t.weight_bytes,
                bus_bytes=t.dram_bus_bytes,
                work={k: int(n) for k, n in zip(mnemonics, spent, strict=True) if n},
                attribution=units[index],
                shapes=work[index].shapes if work else (),
            )
        )
    return rows
