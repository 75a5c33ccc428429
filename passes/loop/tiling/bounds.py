"""The work a nest cannot avoid: multiply-accumulates, elements, bytes.

Compulsory traffic is every distinct byte read once and every byte written once; weights that fit
nowhere are read more often, so this is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod
from typing import Any, cast

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase
from xdsl.ir import SSAValue

from ....backends.targets.machine import Machine
from ....dialects.loop import ExtractOp, Linear, NestOp, ScalarYieldOp, captured, space_of
from ....dialects.types import element_of, int_values, numpy_dtype, shape_of
from .classify import SPARSE, reduction_of, takes_windows
from .footprint import depends


@dataclass(frozen=True)
class Statistics:
    """Of one nest: multiply-accumulates, elements of vector work, compulsory DRAM bytes.

    `matrix_macs` are those of contractions that the matrix unit can run, depthwise ones left out;
    `vector_elements` are the taps of sums and maxima, unless the array takes them, and one for each
    element of an output with elementwise stages.  `weight_bytes` are the constant part of `bytes`.
    """

    macs: int
    matrix_macs: int
    vector_elements: int
    bytes: int
    weight_bytes: int

    def __add__(self, other: Statistics) -> Statistics:
        """Statistics of both together."""
        return Statistics(*(a + b for a, b in zip(_fields(self), _fields(other), strict=True)))


def _fields(s: Statistics) -> tuple[int, ...]:
    return s.macs, s.matrix_macs, s.vector_elements, s.bytes, s.weight_bytes


HALO = "halo"
"""Attribute of stripes (cascade): (dimension, extent) of what an earlier one computes as well."""


def own_sizes(nest: NestOp) -> tuple[int, ...]:
    """The domain without the halo that cascade computes again: that is no work of the network."""
    sizes = list(nest.sizes)
    if isinstance(attr := nest.attributes.get(HALO), DenseArrayBase):
        dim, extent = int_values(cast(DenseArrayBase[Any], attr))
        sizes[dim] -= extent
    return tuple(sizes)


def statistics(nest: NestOp, machine: Machine) -> Statistics:
    """Work and compulsory traffic of a nest in memref or tensor form."""
    domain, maps = own_sizes(nest), nest.linear_maps
    points, parallel = prod(domain), prod(domain[d] for d in nest.parallel)
    contraction = multiplies(nest)
    shared = set(nest.parallel)
    for map in maps[: len(nest.ins)]:
        shared &= {d for d, used in enumerate(depends(map)) if used}
    depthwise = contraction and prod(domain[d] for d in shared) == parallel
    macs = points if contraction else 0
    vector = parallel if nest.reduce.data != "none" and nest.epilogue_block is not None else 0
    if nest.reduce.data == "none":
        vector = parallel if len(list(nest.body.block.ops)) > 1 else 0
    elif not contraction and not takes_windows(reduction_of(nest).kind, machine):
        vector = points
    total = weights = 0
    seen: set[tuple[SSAValue, Linear]] = set()
    for value, map in (*zip(nest.reads, maps, strict=False), (nest.output, maps[-1])):
        if (value, map) in seen:
            continue
        seen.add((value, map))
        size = distinct(map, domain, shape_of(value)) * numpy_dtype(element_of(value)).itemsize
        total += size
        weights += size if space_of(value) == "const" else 0
    for table in captured(nest):
        size = prod(shape_of(table)) * numpy_dtype(element_of(table)).itemsize
        total, weights = total + size, weights + size
    return Statistics(macs, 0 if depthwise else macs, vector, total, weights)


def multiplies(nest: NestOp) -> bool:
    """Whether `nest` sums products of two tensors."""
    if nest.reduce.data != "add" or len(nest.ins) < 2:
        return False
    last = nest.body.block.last_op
    return isinstance(last, ScalarYieldOp) and not isinstance(last.args[0].owner, ExtractOp)


def contraction(nest: NestOp, machine: Machine) -> tuple[int, int, int] | None:
    """(MACs, N, K) of a contraction: N outputs share a value of the first operand, K terms a sum.

    None for other nests.  Outputs of neighbouring windows share values: each channel's of a 3x3
    convolution 9, a depthwise one's too (pack-pixels has them on the array side by side).  Of 2:4
    sparse weights only the terms count that the machine's array does not skip.
    """
    if not multiplies(nest):
        return None
    domain, (left, right) = own_sizes(nest), nest.linear_maps[:2]
    only_right = [
        d for d in nest.parallel if depends(right)[d] and not depends(left)[d]
    ]  # fmt: skip
    n = prod(domain[d] for d in only_right) * _overlap(nest, left)
    skip = machine.sparsity.rate if SPARSE in nest.attributes else 1
    return prod(domain) // skip, n, prod(domain[d] for d in nest.reduced) // skip


def _overlap(nest: NestOp, map: Linear) -> int:
    """Windows (positions of the output) that a value of an operand is part of, at most."""
    domain, out = nest.sizes, 1
    for row in map.coeffs:
        taps = [d for d in nest.reduced if row[d] and domain[d] > 1]
        positions = [d for d in nest.parallel if row[d] and domain[d] > 1]
        if not taps or not positions:
            continue
        step = min(abs(row[d]) // gcd(row[d], *(row[t] for t in taps)) for d in positions)
        windows = -(-prod(domain[t] for t in taps) // step)
        out *= min(windows, prod(domain[d] for d in positions))
    return out


@lru_cache(maxsize=4096)
def distinct(map: Linear, domain: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Number of distinct elements of a tensor that a nest reads (a lower bound for diagonals)."""
    counts = [
        _axis(row, const, domain, n)
        for row, const, n in zip(map.coeffs, map.consts, shape, strict=True)
    ]
    used = [d for row in map.coeffs for d, a in enumerate(row) if a and domain[d] > 1]
    if len(used) != len(set(used)):  # a diagonal: all of its longest axis, if nothing is cut off
        bounds = zip(map.bounds(domain), shape, strict=True)
        return max(counts) if all(low >= 0 and high < n for (low, high), n in bounds) else 0
    return prod(counts)


def _axis(row: Sequence[int], const: int, domain: Sequence[int], extent: int) -> int:
    reached = np.zeros(extent + 1, np.bool_)
    values = np.array([const], np.int64)
    for a, n in zip(row, domain, strict=True):
        if a and n > 1:
            values = np.unique((values[:, None] + a * np.arange(n)).ravel())
    reached[values[(values >= 0) & (values < extent)]] = True
    return int(reached.sum())
