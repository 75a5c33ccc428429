"""Work of the executions of a site that does not depend on addresses: MACs, elements, bytes.

matmul 64 x 16 x 16        16,384 MACs
load of 16 rows of 64      1,024 bytes of scratchpad traffic
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ....dialects.npu.isa import ON_ARRAY, PRODUCTS
from ...targets.machine import Machine
from .expand import Place, Site


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


def effort(site: Site, machine: Machine) -> Effort:
    """MACs, vector work and on-chip traffic of one execution of `site`."""
    if site.instruction.mnemonic == "preload":  # counted with the matmul that uses the tile
        return Effort()
    spm = sum(_bytes(p) for p in site.places if p.space == "spm")
    if site.receivers[0]:
        sent = sum(map(len, site.receivers)) * _bytes(site.places[1]) // site.cores
        return Effort(spm_bytes=spm + sent, network_bytes=sent)
    acc = sum(_bytes(p) for p in site.places if p.space == "acc")
    name, v = site.instruction.mnemonic, machine.vector
    if name in PRODUCTS:
        m, n, k = matmul_shape(site)
        macs = m * n * k // (machine.sparsity.rate if name == "smatmul" else 1)
        return Effort(macs, macs, spm_bytes=spm, acc_bytes=acc)
    if name in ON_ARRAY.values():
        taken = math.prod(n for n, _ in work_place(site).dims)
        return Effort(taken if name == "mmac" else 0, taken, spm_bytes=spm, acc_bytes=acc)
    if site.places and name.startswith("v"):
        elements = math.prod(n for n, _ in work_place(site).dims)
        macs = elements if name == "vmac" else 0
        cycles = elements / v.lanes * v.cost(name)
        return Effort(macs, 0, elements, cycles, spm, acc)
    return Effort(spm_bytes=spm, acc_bytes=acc)


def _bytes(place: Place) -> int:
    return place.element * math.prod(n for n, s in place.dims if s or n == 1)


def work_place(site: Site) -> Place:
    """The operand whose elements are a command's work: a of windows, acc, or dst of vfill."""
    return site.places[0]


def matmul_shape(site: Site) -> tuple[int, int, int]:
    """(rows, columns, reduction) of a matmul."""
    a, b, *_ = site.places
    rows = site.instruction.params["m_rank"]
    m = math.prod(n for n, _ in a.dims[:rows])
    return m, b.dims[-1][0], math.prod(n for n, _ in a.dims[rows:])
