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
    for c in expansion.in_step():
        s = expansion.site[c]
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
class LayerShape:
    """Extents of one computation of a layer, for reports.

    `kind` is its reduction ("matmul"; "vmac" for depthwise convolutions; "vmax", "vsum" ...;
    "none").  A matmul multiplies `batch` times m x k by k x n, where `k` is `taps` of a window
    times channels; others take k taps of m positions of n channels.
    """

    kind: str
    batch: int
    m: int
    n: int
    k: int
    taps: int = 1


@dataclass(frozen=True)
class LayerWork:
    """What a layer has to compute whatever the schedule: no padding of partial tiles counts.

    `contractions`: (MACs, N, K) of each sum of products, where N outputs share a value of the left
    operand (1 for depthwise convolutions) and a sum has K terms.  `vector_elements`: elements of
    vector stages (requantisation, pooling taps, additions ...).  `shapes` bound nothing: they are
    what reports call the layer's extents.
    """

    contractions: tuple[tuple[int, int, int], ...]
    vector_elements: int
    shapes: tuple[LayerShape, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates, depthwise ones included."""
        return sum(macs for macs, _, _ in self.contractions)


def work_bound(machine: Machine, layers: Sequence[LayerWork], compulsory: int) -> int:
    """Fewest cycles in which `machine` (all cores) can do `layers` and move `compulsory` bytes.

    A weight in the array is useful to at most N columns of its row and K rows of its column, so a
    contraction runs at no more than min(rows * min(columns, N), columns * min(rows, K)) * pixels.
    Where the array takes windows, it can do any of them at `window_channels` * pixels, too.
    Its MACs may be divided between matrix and vector unit, which run in parallel.  For any weight
    w in [0, 1], time >= w * (matrix time) + (1 - w) * (vector time), and each contraction costs at
    least the cheaper of the two; the largest such bound (linear programming duality) is at one of
    the weights where a contraction changes unit.
    """
    m, v = machine.matrix, machine.vector
    lanes = v.lanes * machine.cores / min(v.mac, 1.0)
    elements = sum(w.vector_elements for w in layers)
    vector = elements * min(v.move, v.requantize, v.lookup, v.mac, 1.0) / (v.lanes * machine.cores)
    rated: dict[int, int] = {}
    for macs, n, k in (c for w in layers for c in w.contractions):
        cells = min(m.rows * min(m.columns, n), m.columns * min(m.rows, k))
        rate = max(cells, m.window_channels) * m.pixels * machine.cores
        rated[rate] = rated.get(rate, 0) + macs

    def bound(weight: float) -> float:
        return (1 - weight) * vector + sum(
            macs * min(weight / rate, (1 - weight) / lanes) for rate, macs in rated.items()
        )

    computing = max(bound(w) for w in (0.0, 1.0, *(r / (r + lanes) for r in rated)))
    moving = compulsory / (machine.dram.bytes_per_cycle * machine.cores)
    return math.ceil(max(computing, moving) - 1e-6)


def lower_bound(machine: Machine, matrix_macs: int, vector_cycles: float, compulsory: int) -> int:
    """Fewest cycles in which `machine` (all cores) can do the work of the commands as they are."""
    bandwidth = machine.dram.bytes_per_cycle * machine.cores
    exact = max(
        matrix_macs / machine.peak_macs_per_cycle,
        vector_cycles / machine.cores,
        compulsory / bandwidth,
    )
    return math.ceil(exact - 1e-6)
