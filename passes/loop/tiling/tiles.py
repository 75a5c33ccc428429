"""Tiles of a nest, all candidates at once: boxes, bytes, traffic, repetitions.

Tile sizes are one array per dimension of the domain with an entry for every candidate; what comes
out are arrays over the candidates as well.

    tiles of 14, 28 and 56 rows    ->    boxes of 16, 30 and 58 rows of the input of a 3 x 3 window
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .footprint import depends
from .work import Operand, Work


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`numpy.where` for values of any type, whose overloads it does not know."""
    return np.where(condition, yes, no)  # pyright: ignore[reportUnknownVariableType]


def boxes(operand: Operand, tiles: Sequence[Any]) -> list[Any]:
    """Box extents per axis (arrays over the combinations)."""
    out: list[Any] = []
    for row in operand.map.coeffs:
        step, extent = np.zeros_like(tiles[0]), np.ones_like(tiles[0])
        for d, a in enumerate(row):
            if a:
                step = np.gcd(step, where(tiles[d] > 1, abs(a), 0))
        for d, a in enumerate(row):
            if a:
                extent = extent + abs(a) // np.maximum(step, 1) * (tiles[d] - 1)
        out.append(extent)
    return out


def tile_bytes(operand: Operand, extents: Sequence[Any], align: int = 1) -> Any:
    """Bytes of a box of these extents in the scratchpad."""
    total: Any = 1 if extents else np.array(1)
    for n in extents:
        total = total * n
    return -(-operand.stored(total) // align) * align


def moved_bytes(operand: Operand, extents: Sequence[Any], burst: int) -> Any:
    """Bytes of DRAM traffic for one tile: contiguous rows, cut at burst boundaries.

    A row that may start anywhere in a burst touches (bytes - 1) / burst + 1 of them on average.
    """
    if operand.constant:
        return -(-tile_bytes(operand, extents) // (burst * operand.share)) * burst
    run: Any = operand.bytes
    rows: Any = 1
    contiguous: Any = True
    for extent, box in zip(reversed(operand.shape), reversed(extents), strict=True):
        inside: Any = np.minimum(box, extent)
        run = where(contiguous, run * inside, run)
        rows = where(contiguous, rows, rows * inside)
        contiguous = contiguous & (inside == extent)
    aligned: Any = (operand.shape[-1] * operand.bytes % burst == 0 if operand.shape else True) & (
        run % burst == 0
    )
    return rows * where(aligned, run, run - 1 + burst)


def strides(operand: Operand, tiles: Sequence[Any], dims: Sequence[int]) -> list[Any]:
    """Elements from one step of each dimension to the next, in a tile of the operand's own."""
    extents = boxes(operand, tiles)
    if operand.resident:
        extents = [n + 0 * b for n, b in zip(operand.shape, extents, strict=True)]
    out: list[Any] = [np.zeros_like(tiles[0]) for _ in dims]
    size: Any = np.ones_like(tiles[0])
    for row, box in zip(reversed(operand.map.coeffs), reversed(extents), strict=True):
        step: Any = np.zeros_like(tiles[0])
        if not operand.resident:
            for d, a in enumerate(row):
                if a:
                    step = np.gcd(step, where(tiles[d] > 1, abs(a), 0))
        step = np.maximum(step, 1)
        for i, d in enumerate(dims):
            if row[d]:
                out[i] = out[i] + row[d] // step * size
        size = size * box
    return out


def coalesced(dims: Sequence[int], operands: Sequence[Operand], tiles: Sequence[Any]) -> list[Any]:
    """Sizes of `dims` after merging what is one dimension for all operands, as lower-to-npu does.

    A dimension that is merged into the next one out is left with size 1.
    """
    dims = [d for d in dims if np.any(tiles[d] > 1)]
    sizes: list[Any] = [tiles[d] for d in dims]
    if len(dims) < 2:
        return sizes
    steps = [strides(o, tiles, dims) for o in operands]
    for i in reversed(range(len(dims) - 1)):
        inner, outer = sizes[i + 1], sizes[i]
        merged: Any = (inner > 1) & (outer > 1)
        for s in steps:
            merged = merged & (s[i] == s[i + 1] * inner)
        take = merged | (outer == 1)  # the inner one's strides
        for s in steps:
            s[i] = where(take, s[i + 1], s[i])
        merged = merged | (inner == 1) | (outer == 1)
        sizes[i], sizes[i + 1] = where(merged, outer * inner, outer), where(merged, 1, inner)
    return sizes


def accesses(operand: Operand, tiles: Sequence[Any], dims: Sequence[int], width: int) -> Any:
    """Accesses of `width` bytes that read a tile of its own along `dims`: `cycles.accesses`."""
    steps = dict(zip(dims, strides(operand, tiles, dims), strict=True))
    inner = [
        d
        for row in reversed(operand.map.coeffs)
        for d in sorted(dims, key=lambda d: abs(row[d]))
        if row[d]
    ]
    run, points, contiguous = np.ones_like(tiles[0]), np.ones_like(tiles[0]), np.True_
    for d in dict.fromkeys(inner):
        contiguous = contiguous & ((np.abs(steps[d]) == run) | (tiles[d] == 1))
        run, points = run * where(contiguous, tiles[d], 1), points * tiles[d]
    return points // run * -(-run * operand.bytes // width)


def bands(work: Work, tiles: Sequence[Any]) -> Any:
    """Whether tiles are bands of the output: whole behind the first axis that is divided.

    What reads a resident tensor can begin with its first bands while the last are being made.
    """
    out: Any = np.ones_like(tiles[0], np.bool_)
    outer: Any = np.ones_like(tiles[0], np.bool_)  # all axes so far have tiles of one element
    columns = {d for d, a in enumerate(work.output.map.coeffs[-1]) if a}
    if work.kind != "matmul":  # a product's columns have weights of their own
        columns = set[int]()
    for row in work.output.map.coeffs:
        for d in (d for d, a in enumerate(row) if a and d not in columns):
            out = out & (outer | (tiles[d] == work.domain[d]))
            outer = outer & (tiles[d] == 1)
    return out


def repeats(operand: Operand, order: Sequence[int], counts: Sequence[Any]) -> Any:
    """How often a tile of `operand` is loaded: all loops around the innermost one it depends on."""
    uses = depends(operand.map)
    trips: Any = np.ones_like(counts[0])
    inside: Any = np.zeros_like(counts[0], np.bool_)
    for d in reversed(order):
        inside = inside | (uses[d] & (counts[d] > 1))
        trips = trips * where(inside, counts[d], 1)
    return trips
