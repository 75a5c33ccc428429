"""Composing access maps with shape-only operations: broadcast, transpose, slice, unit reshape.

Each function takes the map at which a result is read and returns the map at which the operand is
read instead: `transpose(map of y, perm)` is the map of x where y = transpose(x).
"""

from __future__ import annotations

from collections.abc import Sequence

from ....dialects.loop import Linear


def identity(rank: int) -> Linear:
    """Axis i is dimension i."""
    return Linear.select(range(rank), rank)


def broadcast(map: Linear, operand: Sequence[int], result: Sequence[int]) -> Linear:
    """The operand's map where the operand (of shape `operand`) broadcasts to shape `result`."""
    skip = len(result) - len(operand)
    zero = (0,) * map.num_dims
    rows, consts = list(map.coeffs[skip:]), list(map.consts[skip:])
    for axis, extent in enumerate(operand):
        if extent == 1 and result[axis + skip] != 1:
            rows[axis], consts[axis] = zero, 0
    return Linear(tuple(rows), tuple(consts), map.num_dims)


def transpose(map: Linear, perm: Sequence[int]) -> Linear:
    """The operand's map where result axis i is operand axis perm[i]."""
    inverse = sorted(range(len(perm)), key=lambda i: perm[i])
    return Linear(
        tuple(map.coeffs[i] for i in inverse), tuple(map.consts[i] for i in inverse), map.num_dims
    )


def slice_(map: Linear, starts: Sequence[int], steps: Sequence[int]) -> Linear:
    """The operand's map where result index i is operand index start + i * step."""
    return Linear(
        tuple(tuple(a * step for a in row) for row, step in zip(map.coeffs, steps, strict=True)),
        tuple(c * step + start for c, start, step in zip(map.consts, starts, steps, strict=True)),
        map.num_dims,
    )


def is_unit_reshape(operand: Sequence[int], result: Sequence[int]) -> bool:
    """Whether the reshape only inserts or drops axes of extent 1 (no empty tensors)."""
    return 0 not in operand and [d for d in operand if d != 1] == [d for d in result if d != 1]


def unit_reshape(map: Linear, operand: Sequence[int], result: Sequence[int]) -> Linear:
    """The operand's map where the result only inserts or drops axes of extent 1."""
    kept = iter([i for i, d in enumerate(result) if d != 1])
    zero = (0,) * map.num_dims
    axes = [None if d == 1 else next(kept) for d in operand]
    return Linear(
        tuple(zero if i is None else map.coeffs[i] for i in axes),
        tuple(0 if i is None else map.consts[i] for i in axes),
        map.num_dims,
    )
