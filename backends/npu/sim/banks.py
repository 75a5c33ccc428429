"""What executions ask of the banks of on-chip memories: accesses of each, and what they move.

Banks are numbered scratchpad first, then accumulators.  Weights are read by the preload, which does
not contend.  Each pass of a matmul over the reduction reads and writes its sums; rows are read once
for each tile of columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....dialects.constants import Array
from ....dialects.npu.isa import PRODUCTS
from ...targets.cycles import accesses, array_tiles, stationary_operand
from ...targets.machine import Machine, Memory
from .effort import matmul_shape
from .expand import Place, Site


@dataclass(frozen=True)
class Demand:
    """Accesses by bank: of the core's own (with the ports of each), of every core it writes to.

    `network` is the bytes that arrive in each of the latter.
    """

    own: dict[int, float]
    ports: dict[int, int]
    remote: dict[int, float]
    network: int = 0

    @property
    def cycles(self) -> int:
        """Cycles that the busiest bank takes."""
        busiest = (math.ceil(n / self.ports[b] - 1e-9) for b, n in self.own.items())
        return max(busiest, default=0)


def demand(site: Site, i: int, machine: Machine) -> Demand:
    """What execution `i` asks for."""
    out = Demand({}, {}, {})
    network = 0
    sends = bool(site.receivers[0])
    name, kept, streamed = site.instruction.mnemonic, tuple[int, ...](), -1
    down = across = 1
    if name in PRODUCTS:
        down, across = array_tiles(machine.unit(name == "smatmul"), *matmul_shape(site))
        stationary = stationary_operand(machine.matrix)
        kept = (1, 3) if name == "smatmul" else (stationary,)
        streamed = 1 if stationary == 0 else 0
    elif name == "mmac":
        kept = (1,)
    for index, place in enumerate(site.places):
        memory = _memory(place, machine)
        if memory is None or (index in kept and place.space == "spm"):
            continue
        amount = accesses(place.dims, place.element, memory.width)
        if place.spec.direction == "rw":  # the first pass may only write
            amount *= 2 * down - site.overwrite[i]
        elif index == streamed:
            amount *= across
        size = memory.bytes // memory.regions
        first = 0 if place.space == "spm" else machine.scratchpad.regions
        low, high = place.addresses[i] + place.low, place.addresses[i] + place.high
        away = sends and index == 1
        for bank in range(low // size, (high - 1) // size + 1):
            share = (min(high, (bank + 1) * size) - max(low, bank * size)) / (high - low)
            out.own[first + bank] = out.own.get(first + bank, 0.0) + amount * share
            out.ports[first + bank] = memory.region_ports
            if away:
                out.remote[first + bank] = amount * share
        if away:
            network = place.element * math.prod(n for n, _ in place.dims)
    return Demand(out.own, out.ports, out.remote, network)


def bank_keys(place: Place, machine: Machine) -> list[int]:
    """The bank that each execution's operand lies in; where it spans several, its own address."""
    memory = _memory(place, machine)
    if memory is None or memory.regions == 1:
        return [0] * len(place.addresses)
    bank, address = memory.bytes // memory.regions, np.asarray(place.addresses, np.int64)
    first, last = (address + place.low) // bank, (address + place.high - 1) // bank
    keys: Array = np.where(first == last, first, -1 - address)
    return keys.tolist()


def bank_ports(machine: Machine) -> Sequence[int]:
    """Accesses a cycle of every bank, scratchpad then accumulator."""
    spm, acc = machine.scratchpad, machine.accumulator
    return (spm.region_ports,) * spm.regions + (acc.region_ports,) * acc.regions


def _memory(place: Place, machine: Machine) -> Memory | None:
    return {"spm": machine.scratchpad, "acc": machine.accumulator}.get(place.space)
