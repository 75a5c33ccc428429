"""Copies of operands that a nest reads instead: padded windows, widened activations.

    convolution reading %x outside its extents   ->   copy %x into scratch with its border;
                                                       convolution reading the copy

Bounds then cost nothing in the inner loops.  Sums of 8-bit products also widen the copy (`pairs`).
"""

from __future__ import annotations

from dataclasses import replace

from ...dialects.loop import Linear, NestOp, row_major_strides
from .nest import Access, Nest, Program, access_of
from .pairs import widened_operand, with_widened


def with_copies(op: NestOp, nest: Nest) -> tuple[Nest, dict[int, Nest]]:
    """`nest` of `op` reading copies where that pays, and the nests that make them, by operand."""
    copies: dict[int, Nest] = {}
    row = widened_operand(op, nest)
    widen: Program | None = None
    if row is not None:
        nest, widen = with_widened(nest, row)
    accesses = list(nest.accesses)
    for i, access in enumerate(nest.accesses[:-1]):
        window = op.reduced and any(
            sum(nest.sizes[d] > 1 for d in c.dims) > 1 for c in access.conditions
        )
        if i == row or window:
            accesses[i], copies[i] = _copied(op, nest, i, widen if i == row else None)
    return replace(nest, accesses=tuple(accesses)), copies


def _copied(op: NestOp, nest: Nest, i: int, program: Program | None) -> tuple[Access, Nest]:
    """The access of a copy of all that operand `i` reaches, and the nest that makes the copy."""
    map, value = op.linear_maps[i], op.reads[i]
    bounds = map.bounds(nest.sizes)
    shape = tuple(high - low + 1 for low, high in bounds)
    lows = [low for low, _ in bounds]
    source = access_of(
        value,
        Linear.of([{r: 1} for r in range(len(shape))], len(shape), lows),
        op.fill_values[i],
        shape,
    )
    program = program or Program((source.type,), (), 0)
    strides = row_major_strides(shape)
    moved = replace(map, consts=tuple(c - low for c, low in zip(map.consts, lows, strict=True)))
    flat, offset = moved.flat(strides)
    target = Access(program.type, strides, 0)
    copy = Nest(shape, frozenset(), "none", False, 1, (source, target), (), program, None, False)
    return Access(program.type, flat, offset), copy
