"""Lower bounds that no schedule of the same work can beat: what achieved cycles are judged against.

    bound = max(matrix MACs / peak, vector work / vector rate, compulsory bytes / DRAM bandwidth)

over the whole machine (all cores).  Compulsory bytes are the distinct bytes of constants read, of
the arena read before the program writes them (its inputs), and of its outputs: everything else
could have stayed on chip.  A layer is charged with the bytes it is the first to touch, so that
layers' bytes sum to the model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....dialects.constants import Array
from ...targets.machine import Machine
from .expand import Expansion
from .footprint import Access, shadow_view, used_bytes


@dataclass(frozen=True)
class Compulsory:
    """Bytes that must cross the DRAM interface, in all and by layer index."""

    consts: int
    inputs: int
    outputs: int
    by_layer: dict[int, int]

    @property
    def total(self) -> int:
        """All of them."""
        return self.consts + self.inputs + self.outputs


def compulsory_bytes(
    expansion: Expansion, steps: Sequence[int], outputs: Sequence[tuple[int, int]] | None = None
) -> Compulsory:
    """Distinct bytes the program must move; `outputs` are [begin, end) ranges of the arena.

    Without `outputs`, what the program writes and never reads back counts as output.
    """
    sizes = used_bytes(expansion)
    consts, arena_read, written = (np.zeros(sizes[s], bool) for s in ("const", "dram", "dram"))
    reread = np.zeros(sizes["dram"], bool)
    writer = np.full(sizes["dram"], -1, np.int32)
    counts = {"const": 0, "dram": 0}
    by_layer: dict[int, int] = {}
    far = [next(((Access(p), p) for p in s.places if p.in_dram), None) for s in expansion.sites]
    seen: list[set[object]] = [set() for _ in expansion.sites]
    for c, s in enumerate(expansion.site):
        entry = far[s]
        if entry is None:
            continue
        access, place = entry
        i = steps[c]
        key = (place.addresses[i], place.clips[i])
        span = access.span(i)
        if key in seen[s] or span is None:
            continue
        seen[s].add(key)
        layer, address = expansion.sites[s].instruction.layer, place.addresses[i]
        if place.writes():
            shadow_view(written, address, span)[...] = True
            shadow_view(writer, address, span)[...] = layer
            continue
        if place.space == "const":
            view = shadow_view(consts, address, span)
            new = view.size - int(np.count_nonzero(view))
            view[...] = True
        else:
            view, before = (
                shadow_view(arena_read, address, span),
                shadow_view(written, address, span),
            )
            shadow_view(reread, address, span)[...] |= before
            fresh = ~view & ~before
            new = int(np.count_nonzero(fresh))
            view |= fresh
        counts[place.space] += new
        by_layer[layer] = by_layer.get(layer, 0) + new
    final = written & ~reread if outputs is None else written & _ranges(sizes["dram"], outputs)
    for layer, n in zip(*np.unique(writer[final], return_counts=True), strict=True):
        by_layer[int(layer)] = by_layer.get(int(layer), 0) + int(n)
    return Compulsory(counts["const"], counts["dram"], int(np.count_nonzero(final)), by_layer)


def _ranges(size: int, ranges: Sequence[tuple[int, int]]) -> Array:
    mask = np.zeros(size, bool)
    for begin, end in ranges:
        mask[begin:end] = True
    return mask


@dataclass(frozen=True)
class LayerWork:
    """What a layer has to compute whatever the schedule: no padding of partial tiles counts.

    `macs`: multiply-accumulates, depthwise ones included.  `vector_elements`: elements of vector
    stages (requantisation, pooling taps, additions ...).
    """

    macs: int
    vector_elements: int


def work_bound(machine: Machine, macs: int, vector_elements: int, compulsory: int) -> int:
    """Fewest cycles in which `machine` (all cores) can do `LayerWork` and move `compulsory` bytes.

    Depthwise multiply-accumulates may run on either unit, so both rates count.
    """
    v = machine.vector
    per_element = min(v.mac, v.move, v.requantize, v.lookup, 1.0)
    exact = max(
        macs / (machine.peak_macs_per_cycle + v.lanes * machine.cores),
        vector_elements * per_element / (v.lanes * machine.cores),
        compulsory / (machine.dram.bytes_per_cycle * machine.cores),
    )
    return math.ceil(exact - 1e-6)


def lower_bound(machine: Machine, matrix_macs: int, vector_cycles: float, compulsory: int) -> int:
    """Fewest cycles in which `machine` (all cores) can do the work of the commands as they are."""
    bandwidth = machine.dram.bytes_per_cycle * machine.cores
    exact = max(
        matrix_macs / machine.peak_macs_per_cycle,
        vector_cycles / machine.cores,
        compulsory / bandwidth,
    )
    return math.ceil(exact - 1e-6)
