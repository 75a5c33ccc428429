"""Constant weights packed into panels when the program is loaded.

    w[k][n], n contiguous   ->   panel p, k, lane:  w[k][min(p * B, N - B) + lane]

A kernel that walks B columns of a wide matrix touches one or two cache lines a row, each on
another page; in a panel they are consecutive.  Panels follow the kernel's blocks, the last of which
is moved back.  `tw_prepare` makes them once for each block of constants.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from .nest import Access, Nest, Program
from .schedule import Schedule

LEAST_BYTES = 1 << 16
"""Smaller matrices stay in the second cache as they are."""


def packable(nest: Nest, plan: Schedule) -> int | None:
    """The operand of a simplified nest that is worth packing, if any."""
    vector = plan.vector
    if vector is None or vector in nest.reduced or nest.reduce == "none" or nest.aliased:
        return None
    for i, access in enumerate(nest.accesses[: nest.num_ins]):
        used = {d for d, s in enumerate(access.strides) if s}
        size = access.type.bytes * prod(nest.sizes[d] for d in used)
        wide = nest.sizes[vector] > 2 * panel_width(plan)
        if (
            access.strides[vector] == 1
            and used == {vector, *nest.reduced}
            and not access.conditions
            and wide
            and access.type.kind == "f"
            and size >= LEAST_BYTES
        ):
            return i
    return None


def panel_width(plan: Schedule) -> int:
    """Columns of one block."""
    assert plan.vector is not None
    return plan.lanes * plan.blocks.get(plan.vector, 1)


def packed(nest: Nest, plan: Schedule, i: int) -> tuple[Nest, list[Nest], int]:
    """`nest` reading operand `i` as panels, the nests that make them, and their size in bytes."""
    vector, width, access = plan.vector, panel_width(plan), nest.accesses[i]
    assert vector is not None
    columns = nest.sizes[vector]
    whole, rest = divmod(columns, width)
    dims = [d for d in plan.order if d in nest.reduced]
    strides, step = [0] * len(nest.sizes), width
    for d in reversed(dims):
        strides[d], step = step, step * nest.sizes[d]
    strides[vector] = 1
    depth = step // width
    panels = Access(access.type, tuple(strides), 0, panel=depth)
    accesses = tuple(panels if k == i else a for k, a in enumerate(nest.accesses))
    sizes = [nest.sizes[d] for d in dims]
    source = [access.strides[d] for d in dims]
    target = [strides[d] for d in dims]
    makers = [
        _copy(
            (whole, *sizes, width),
            (width, *source, 1),
            access.offset,
            (step, *target, 1),
            0,
            access,
        )
    ]
    if rest:
        makers.append(
            _copy(
                (*sizes, width),
                (*source, 1),
                access.offset + columns - width,
                (*target, 1),
                whole * step,
                access,
            )
        )
    return replace(nest, accesses=accesses), makers, (whole + bool(rest)) * step * access.type.bytes


def _copy(
    sizes: tuple[int, ...],
    source: tuple[int, ...],
    at: int,
    target: tuple[int, ...],
    to: int,
    access: Access,
) -> Nest:
    type = access.type
    accesses = (Access(type, source, at), Access(type, target, to))
    return Nest(
        sizes, frozenset(), "none", False, 1, accesses, (), Program((type,), (), 0), None, False
    )
