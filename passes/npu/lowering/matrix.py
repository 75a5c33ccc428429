"""Contraction leaves: hardware loops around matmul commands.

Per command, all m dimensions of the accumulator tile stream through the array (up to four after
merging), against as many reduction dimensions as fit its rows, innermost first:

    KH*KW*IC <= rows: all;  else (khb, KW, IC);  else (kwb, IC);  else (icb)

and up to `columns` output channels.  What does not fit becomes loops, in the order batch, n, outer
m, k; a block that does not divide leaves a second command for the rest.  The first command of a
reduction overwrites the accumulators (the mask of the loops that reduce, tile loops included), the
others add.  An accumulator tile is laid out like the output tile, row-major.

Weights that are 2:4 compressed (`loop.decode`) take the same loops in units of 8 along the last
reduction dimension, for smatmul: 8 of a are 4 values of b and 1 byte of index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.ir import SSAValue

from ....backends.targets.cycles import columns_limit, reduction_limit
from ....backends.targets.machine import Machine
from ....dialects.loop import DecodeOp, NestOp, row_major_strides
from ....dialects.npu.isa import MAX_DIMS
from ....dialects.sparsity import GROUP, index_shape, values_shape
from ....dialects.types import shape_of
from ...loop.tiling.classify import reduction_of, roles, weights_axis
from .emitter import Dim, Emitter, capacity, coalesce, dims_of, levels, operands_of


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


@dataclass(frozen=True)
class _Operands:
    """Operands of a leaf in the order of the command, with dimensions in strides of each.

    `last`: the innermost reduction dimension where weights are compressed, in units of 8.
    """

    values: list[SSAValue]
    dims: list[Dim]
    base: list[int]
    last: int | None = None


def _dense(nest: NestOp, order: Sequence[int]) -> _Operands:
    values, maps = operands_of(nest)
    values, maps = [values[i] for i in order], [maps[i] for i in order]
    return _Operands(values, *dims_of(maps, values, nest.sizes))


def _compressed(nest: NestOp, order: Sequence[int], weights: DecodeOp) -> _Operands:
    """Operands of smatmul: the index behind the others; CapacityError where it cannot take them."""
    plain, axis, shape = _dense(nest, order), weights.axis.value.data, shape_of(weights.result)
    found, map = weights_axis(nest, reduction_of(nest)), nest.linear_maps[order[1]]
    if found is None or found[1] != axis:
        raise capacity(nest, f"takes no weights that are compressed along axis {axis}")
    last = found[0]
    values, values_base = map.flat(row_major_strides(values_shape(shape, axis)))
    index, index_base = map.flat(row_major_strides(index_shape(shape, axis)))
    dims: list[Dim] = []
    for d, dim in enumerate(plain.dims):
        a, _, acc = dim.strides
        here, kept = (GROUP, GROUP // 2) if d == last else (1, 1)
        dims.append(Dim(dim.size // here, (a * here, values[d] * kept, acc, index[d])))
    base = [plain.base[0], values_base, plain.base[2], prod(shape) // 2 + index_base]
    return _Operands([*plain.values, weights.result], dims, base, last)


def lower_matmul(nest: NestOp, machine: Machine, out: Emitter) -> None:
    """Emit the commands of a leaf tensorised as matmul."""
    reduction = reduction_of(nest)
    part = roles(nest, reduction)
    assert reduction.b is not None
    order, weights = (reduction.a, reduction.b, 2), nest.reads[reduction.b].owner
    sparse = isinstance(weights, DecodeOp)
    given = _compressed(nest, order, weights) if sparse else _dense(nest, order)
    dims, base, one = given.dims, given.base, Dim(1, (0,) * len(given.values))
    batch = coalesce([dims[d] for d in part.batch])
    unit, grain = machine.unit(sparse), GROUP if sparse else 1
    k_dims = coalesce([dims[d] for d in part.k])
    limit = reduction_limit(unit) // grain
    k_outer, k_split, k_limit, k_inside = fit_rows(k_dims, limit)
    n_dims = coalesce([dims[d] for d in part.n]) or [one]
    m = coalesce([dims[d] for d in part.m])
    # a single unit of 8 is a dimension of its own, which coalescing has dropped
    unit_dim = [dims[given.last]] if given.last is not None and dims[given.last].size == 1 else []
    room = min(4, MAX_DIMS - len(k_inside) - len(unit_dim) - 1)
    m_outer, m = m[: max(0, len(m) - room)], m[max(0, len(m) - room) :]
    reducing = out.reducing(nest)

    def command(start: Sequence[int], k: Sequence[Dim], n: Dim, overwrite: int) -> None:
        k, rows = [*k, *unit_dim] or [one], m or [one]
        parts = [k] * 4 if not sparse else [[*k[:-1], part] for part in _unfold(k[-1])]
        accesses = [
            out.access(0, start[0], [*rows, *parts[0]]),
            out.access(1, start[1], [*parts[1], n]),
            out.access(2, start[2], [*rows, n]),
        ]
        if sparse:
            accesses.append(out.access(3, start[3], [*parts[3], n]))
        out.command(
            "smatmul" if sparse else "matmul",
            given.values,
            accesses,
            m_rank=len(rows),
            a_zp=reduction.a_zp,
            overwrite=overwrite,
            **({} if sparse else {"b_zp": reduction.b_zp}),
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
        held = grain * max(k_limit, 1) * prod(d.size for d in k_inside)
        width = columns_limit(unit, held) if not k_outer else unit.columns
        for offset, size, count in blocks(column.size, width):
            step = Dim(count, tuple(s * size for s in column.strides))
            here = [b + offset * s for b, s in zip(base, column.strides, strict=True)]
            with out.loops([step, *m_outer]):
                reduce(here, Dim(size, column.strides))


def _unfold(dim: Dim) -> list[Dim]:
    """A dimension of units of 8 for each operand of smatmul: 8, 4, none, 1 elements a unit."""
    return [
        Dim(dim.size * n, tuple(s // n for s in dim.strides)) for n in (GROUP, GROUP // 2, 1, 1)
    ]


def _mask(reducing: int, first: int, depth: int) -> int:
    """Overwrite mask: tile loops that reduce, and the leaf's own loops from level `first`."""
    return -1 if reducing < 0 else reducing | levels(first, depth)
