"""Contraction leaves: hardware loops around matmul commands.

Per command, all m dimensions of the accumulator tile stream through the array (up to four after
merging), against as many reduction dimensions as fit its rows, innermost first:

    KH*KW*IC <= rows: all;  else (khb, KW, IC);  else (kwb, IC);  else (icb)

and up to `columns` output channels.  What does not fit becomes loops, in the order batch, n, outer
m, k; a block that does not divide leaves a second command for the rest.  The first command of a
reduction overwrites the accumulators (the mask of the loops that reduce, tile loops included), the
others add.  An accumulator tile is laid out like the output tile, row-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ....backends.targets.machine import Machine, MatrixUnit
from ....dialects.loop import NestOp
from ....dialects.npu.isa import MAX_DIMS
from ...loop.tiling.classify import reduction_of, roles
from .emitter import Dim, Emitter, coalesce, dims_of, levels, operands_of


def blocks(extent: int, limit: int) -> list[tuple[int, int, int]]:
    """Near-even blocks of at most `limit`: (start, block, count), at most two of them.

    >>> blocks(25, 16), blocks(24, 16), blocks(7, 16)
    ([(0, 13, 1), (13, 12, 1)], [(0, 12, 2)], [(0, 7, 1)])
    """
    count = -(-extent // limit)
    size = -(-extent // count)
    full = extent // size
    out = [(0, size, full)]
    if rest := extent - full * size:
        out.append((full * size, rest, 1))
    return out


def fit_rows(dims: Sequence[Dim], rows: int) -> tuple[list[Dim], Dim | None, int, list[Dim]]:
    """Split reduction dimensions: (outer loops, blocked one, its block limit, whole ones)."""
    inside: list[Dim] = []
    left = rows
    rest = list(dims)
    while rest and rest[-1].size <= left:
        inside.insert(0, rest.pop())
        left //= inside[0].size
    if not rest:
        return [], None, 1, inside
    return rest[:-1], rest[-1], max(1, left), inside


def reduction_limit(unit: MatrixUnit) -> int:
    """The longest reduction of one command."""
    if unit.dataflow == "output-stationary" and unit.max_tiles > 1:
        return 1 << 24
    return unit.rows * unit.max_tiles


def tiles_down(unit: MatrixUnit, reduction: int) -> int:
    """Tiles of the array that a reduction takes."""
    return 1 if unit.dataflow == "output-stationary" else -(-reduction // unit.rows)


def lower_matmul(nest: NestOp, machine: Machine, out: Emitter) -> None:
    """Emit the commands of a leaf tensorised as matmul."""
    reduction = reduction_of(nest)
    part = roles(nest, reduction)
    values, maps = operands_of(nest)
    assert reduction.b is not None
    order = (reduction.a, reduction.b, 2)
    values, maps = [values[i] for i in order], [maps[i] for i in order]
    dims, base = dims_of(maps, values, nest.sizes)
    batch = coalesce([dims[d] for d in part.batch])
    unit = machine.matrix
    k_dims = coalesce([dims[d] for d in part.k])
    k_outer, k_split, k_limit, k_inside = fit_rows(k_dims, reduction_limit(unit))
    n_dims = coalesce([dims[d] for d in part.n]) or [Dim(1, (0, 0, 0))]
    m = coalesce([dims[d] for d in part.m])
    room = min(4, MAX_DIMS - len(k_inside) - 1)
    m_outer, m = m[: max(0, len(m) - room)], m[max(0, len(m) - room) :]
    reducing = out.reducing(nest)

    def command(start: Sequence[int], k: Sequence[Dim], n: Dim, overwrite: int) -> None:
        k, rows = k or [Dim(1, (0, 0, 0))], m or [Dim(1, (0, 0, 0))]
        out.command(
            "matmul",
            values,
            [
                out.access(0, start[0], [*rows, *k]),
                out.access(1, start[1], [*k, n]),
                out.access(2, start[2], [*rows, n]),
            ],
            m_rank=len(rows),
            a_zp=reduction.a_zp,
            b_zp=reduction.b_zp,
            overwrite=overwrite,
        )

    def reduce(start: Sequence[int], n: Dim) -> None:
        """All commands that reduce into one block of accumulators."""
        first = out.depth
        with out.loops(k_outer):
            if k_split is None:
                command(start, k_inside, n, _mask(reducing, first, out.depth))
                return
            for i, (offset, size, count) in enumerate(blocks(k_split.size, k_limit)):
                step = Dim(count, tuple(s * size for s in k_split.strides))
                here = [
                    s + offset * stride for s, stride in zip(start, k_split.strides, strict=True)
                ]
                with out.loops([step]):
                    mask = _mask(reducing, first, out.depth) if i == 0 else -1
                    command(here, [Dim(size, k_split.strides), *k_inside], n, mask)

    column = n_dims[-1]
    with out.loops([*batch, *n_dims[:-1]]):
        held = max(k_limit, 1) * prod(d.size for d in k_inside)
        across = max(unit.max_tiles // tiles_down(unit, held), 1) if not k_outer else 1
        for offset, size, count in blocks(column.size, across * unit.columns):
            step = Dim(count, tuple(s * size for s in column.strides))
            here = [b + offset * s for b, s in zip(base, column.strides, strict=True)]
            with out.loops([step, *m_outer]):
                reduce(here, Dim(size, column.strides))


def _mask(reducing: int, first: int, depth: int) -> int:
    """Overwrite mask: tile loops that reduce, and the leaf's own loops from level `first`."""
    return -1 if reducing < 0 else reducing | levels(first, depth)
