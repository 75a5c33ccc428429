"""Tile boxes: what a tile of the iteration domain touches of a tensor, under a linear map.

With tile sizes t_d and origins o_d of the domain dimensions, tensor axis r with coefficients a_d
and constant c covers

    start_r = c + sum a_d * o_d + sum_{a_d < 0} a_d * (t_d - 1)
    step_r  = gcd of |a_d| over dimensions with t_d > 1 (1 if there are none)
    box_r   = sum |a_d| / step_r * (t_d - 1) + 1

elements.  A convolution of stride 2 and kernel 3 with 8 output rows reads 2*7 + 1*2 + 1 = 17 rows.
Padding needs no treatment: boxes may start below 0 or end beyond the extent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from ....dialects.loop import Linear


@dataclass(frozen=True)
class TileBox:
    """The box a tile touches: `box` elements per axis, `steps` apart.

    `local` maps the domain (relative to the tile's origin) to coordinates inside the box; `low` is
    the part of the start that does not depend on origins.
    """

    box: tuple[int, ...]
    steps: tuple[int, ...]
    local: Linear
    low: tuple[int, ...]


def tile_box(map: Linear, tile: Sequence[int]) -> TileBox:
    """The box of `map` over one tile of the domain (see the module docstring)."""
    box: list[int] = []
    steps: list[int] = []
    low: list[int] = []
    rows: list[dict[int, int]] = []
    consts: list[int] = []
    for row, const in zip(map.coeffs, map.consts, strict=True):
        wide = {d: a for d, a in enumerate(row) if a and tile[d] > 1}
        step = gcd(*wide.values()) if wide else 1
        below = sum(a * (tile[d] - 1) for d, a in wide.items() if a < 0)
        box.append(sum(abs(a) // step * (tile[d] - 1) for d, a in wide.items()) + 1)
        steps.append(step)
        low.append(const + below)
        rows.append({d: a // step for d, a in wide.items()})
        consts.append(-below // step)
    return TileBox(tuple(box), tuple(steps), Linear.of(rows, map.num_dims, consts), tuple(low))


def restrict(map: Linear, dims: Sequence[int]) -> Linear:
    """`map` as a function of the domain dimensions `dims` only, renumbered; the others are 0."""
    return Linear(tuple(tuple(row[d] for d in dims) for row in map.coeffs), map.consts, len(dims))


def depends(map: Linear) -> tuple[bool, ...]:
    """Per domain dimension, whether the accessed element depends on it."""
    return tuple(any(row[d] for row in map.coeffs) for d in range(map.num_dims))


def near_even(extent: int, count: int) -> int:
    """The smallest tile that covers `extent` in `count` tiles."""
    return -(-extent // count)


def whole_dims(output: Linear, domain: Sequence[int]) -> tuple[set[int], set[int], set[int]]:
    """Dimensions that must stay whole, and dimensions that need tile size 1, to store boxes.

    An output axis of several dimensions (2*h + r of a resize) is a dense box only if all but the
    dimension with the largest coefficient are whole; if even then there are gaps, all but the
    longest dimension get tile size 1.  The third set is the other way to a dense box: with these at
    tile size 1 nothing need be whole.
    """
    whole: set[int] = set()
    unit: set[int] = set()
    small: set[int] = set()
    for row in output.coeffs:
        dims = sorted((abs(a), d) for d, a in enumerate(row) if a and domain[d] > 1)
        if len(dims) < 2:
            continue
        span, dense = dims[0][0], True
        for a, d in dims:
            dense = dense and a == span
            span = a * domain[d]
        if dense:
            whole.update(d for _, d in dims[:-1])
            small.update(d for _, d in dims[1:])
        else:
            longest = max(dims, key=lambda item: domain[item[1]])[1]
            unit.update(d for _, d in dims if d != longest)
    return whole, unit, small


def overhang_leaves(map: Linear, shape: Sequence[int], domain: Sequence[int], dim: int) -> bool:
    """Whether points of the domain beyond `dim`'s extent always fall outside the tensor.

    Then a ragged last tile is harmless: loads fill it, stores drop it.
    """
    for row, const, extent in zip(map.coeffs, map.consts, shape, strict=True):
        if row[dim] > 0:
            lowest = const + sum(a * (n - 1) for a, n in zip(row, domain, strict=True) if a < 0)
            if lowest + row[dim] * domain[dim] >= extent:
                return True
    return False
