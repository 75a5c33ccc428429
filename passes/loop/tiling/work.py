"""One nest as plain data: what tile-size selection and reports need to know, without IR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from xdsl.ir import SSAValue

from ....backends.targets.machine import Machine
from ....dialects.graph import ConstantOp
from ....dialects.loop import GlobalOp, Linear, NestOp, captured, space_of
from ....dialects.sparsity import compressed_bytes
from ....dialects.types import element_of, numpy_dtype, shape_of
from ..cores import core_counts, padded_extent, split_of
from .chain import Stage, assign_buffers, reduced_value, stages
from .classify import (
    SPARSE,
    Reduction,
    Roles,
    choose_unit,
    innermost_dim,
    reduction_of,
    roles,
    weights_axis,
)
from .footprint import depends, overhang_leaves, whole_dims
from .residents import overwritten


@dataclass(frozen=True)
class Operand:
    """A tensor read (or written) by a nest: access map, shape, bytes per element.

    Tiles of a `constant` lie in DRAM one after the other (pack-constants), 2:4 compressed if
    `sparse`.  A `resident` tensor is in the scratchpad as a whole, and neither loaded nor stored.
    `share` cores load it together.
    """

    map: Linear
    shape: tuple[int, ...]
    bytes: int
    constant: bool = False
    resident: bool = False
    share: int = 1
    sparse: bool = False

    def stored(self, elements: Any) -> Any:
        """Bytes of so many elements (a number, or an array of them)."""
        return compressed_bytes(elements) if self.sparse else self.bytes * elements


@dataclass(frozen=True)
class Work:
    """A nest for tile-size selection.

    `reads` are loaded tile by tile; `a`, `b` index them (contractions).  `fixed` dimensions stay
    whole (unless `small` ones have tile size 1), `unit` dimensions have tile size 1, `exact`
    dimensions need tile sizes that divide them.
    `chain` are the elementwise stages by mnemonic, `temporaries` the output-shaped scratchpad tiles
    that hold their results, `constant_bytes` the scratchpad for tables and scalars, `inner` the
    dimension that is innermost in the output, `sparse` that along which weights can be compressed,
    `given` the tile sizes of some dimensions, which are not to be chosen.
    """

    domain: tuple[int, ...]
    kind: str
    roles: Roles
    reads: tuple[Operand, ...]
    output: Operand
    a: int
    b: int | None
    fixed: frozenset[int]
    unit: frozenset[int]
    small: frozenset[int]
    exact: frozenset[int]
    chain: tuple[str, ...]
    temporaries: int
    constant_bytes: int
    inner: int | None
    sparse: int | None = None
    given: tuple[tuple[int, int], ...] = ()

    @property
    def dense(self) -> Work:
        """The same with weights that are not compressed."""
        reads = tuple(replace(o, sparse=False) for o in self.reads)
        return replace(self, reads=reads, sparse=None)

    def sized(self, domain: tuple[int, ...], dim: int) -> Work:
        """The same with other extents of the domain; `dim` is tiled exactly."""
        return replace(self, domain=domain, exact=self.exact | {dim})

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole nest."""
        return prod(self.domain) if self.kind in ("matmul", "vmac") else 0

    @property
    def parallel(self) -> tuple[int, ...]:
        """Parallel dimensions."""
        reduced = set(self.roles.k)
        return tuple(d for d in range(len(self.domain)) if d not in reduced)


@dataclass(frozen=True)
class Nest:
    """What a nest computes: reduction, chain and the value it ends with, and the nest's plain data.

    `direct`: pure movement that loads and stores do without a vector command.
    """

    reduction: Reduction
    chain: tuple[Stage, ...]
    value: SSAValue
    work: Work
    direct: bool


def shared(map: Linear, split: Sequence[int], cores: Sequence[int]) -> int:
    """How many cores access the same part of a tensor: those along levels that divide others."""
    if not split:
        return prod(cores)
    return prod(count for d, count in zip(split, cores, strict=True) if not depends(map)[d])


def part_sizes(nest: NestOp, cores: Sequence[int]) -> tuple[int, ...]:
    """Extents of the domain of one core: split dimensions are divided, as if padded if need be."""
    sizes = list(nest.sizes)
    for d, count in core_counts(nest, cores).items():
        even = sizes[d] if sizes[d] % count == 0 else padded_extent(sizes[d], prod(cores))
        sizes[d] = even // count
    return tuple(sizes)


def analyse(nest: NestOp, machine: Machine, cores: Sequence[int] = ()) -> Nest:
    """Read a nest in memref (or tensor) form; CapacityError if the machine cannot run it.

    `cores`: extents of the core levels, among which a nest with a split is divided.
    """
    reduction = choose_unit(nest, reduction_of(nest), machine)
    chain, value = stages(nest, reduction.kind)
    maps, domain, part = nest.linear_maps, nest.sizes, roles(nest, reduction)
    split = split_of(nest)
    *reads, output = (
        Operand(
            map,
            shape_of(v),
            numpy_dtype(element_of(v)).itemsize,
            isinstance(v.owner, GlobalOp | ConstantOp),
            space_of(v) == "spm",
            shared(map, split, cores),
        )
        for map, v in zip(maps, (*nest.reads, nest.output), strict=True)
    )
    if split:  # a core's part of the domain
        domain = part_sizes(nest, cores)
    whole, unit, small = whole_dims(output.map, domain)
    exact = {
        d
        for d in nest.parallel
        if depends(output.map)[d] and not overhang_leaves(output.map, output.shape, domain, d)
    }
    # beyond the last of a reduction dimension one operand must read as what changes nothing
    neutral = [reads[i] for i, n in reduction.neutral.items() if nest.fill_values[i] in (None, n)]
    exact |= {
        d for d in part.k if not any(overhang_leaves(o.map, o.shape, domain, d) for o in neutral)
    }
    exact |= set(split)
    scalars = sum(isinstance(x, int) for stage in chain for x in stage.operands)
    tables = captured(nest)
    moves = direct(nest, reduction, chain, value)
    start = reduced_value(nest) if reduction.kind == "vmax" else None
    temporaries = 0 if moves else max(1, assign_buffers(chain, start)[1])
    work = Work(
        domain,
        reduction.kind,
        part,
        tuple(reads),
        output,
        reduction.a,
        reduction.b,
        frozenset(whole),
        frozenset(unit),
        frozenset(small),
        frozenset(exact),
        tuple(stage.kind for stage in chain),
        temporaries,
        scalars * machine.alignment + sum(max(_bytes(t), machine.alignment) for t in tables),
        innermost_dim(output.map, domain),
    )
    found = weights_axis(nest, reduction) if machine.sparse and SPARSE in nest.attributes else None
    if found is not None and reads[reduction.b or 0].constant:
        reads[reduction.b or 0] = replace(reads[reduction.b or 0], sparse=True)
        work = replace(work, reads=tuple(reads), sparse=found[0])
    resident = [i for i, o in enumerate((*reads, output)) if o.resident]
    if resident:
        work = keep(work, frozenset(resident), overwritten(nest) is not None)
        moves = False
    return Nest(reduction, chain, value, work, moves)


def keep(work: Work, resident: frozenset[int], in_place: bool = False) -> Work:
    """`work` with some operands in the scratchpad (positions among reads; the output comes last).

    Their tiles must be whole boxes, so the tile sizes of dimensions that index them divide.  Where
    the output replaces a tensor that is read (`in_place`), what is not final needs another buffer.
    """
    operands = [
        replace(o, resident=True) if i in resident else o
        for i, o in enumerate((*work.reads, work.output))
    ]
    exact = set(work.exact)
    for operand in operands:
        if operand.resident:
            exact |= {d for d, uses in enumerate(depends(operand.map)) if uses}
    chain, temporaries = work.chain, work.temporaries
    if not temporaries:  # transfers alone would do, but not between two places on the chip
        chain, temporaries = ("vclip",), 1
    return replace(
        work,
        reads=tuple(operands[:-1]),
        output=operands[-1],
        exact=frozenset(exact),
        chain=chain,
        temporaries=temporaries - operands[-1].resident + in_place,
    )


def _bytes(value: SSAValue) -> int:
    return prod(shape_of(value)) * numpy_dtype(element_of(value)).itemsize


def direct(nest: NestOp, reduction: Reduction, chain: tuple[Stage, ...], value: SSAValue) -> bool:
    """Whether the nest only moves elements, and both ends of the move are boxes with long rows.

    Every dimension must run alone and forwards along one axis on either side, and the innermost
    one must be the same: transposing the innermost axis by single-element transfers would be slow.
    """
    if reduction.kind != "none" or chain or value.owner is not nest.body.block:
        return False
    domain = nest.sizes
    maps = nest.linear_maps
    position = next(i for i, arg in enumerate(nest.body.block.args) if arg is value)
    orders: list[list[int]] = []
    for map in (maps[position], maps[-1]):
        order: list[int] = []
        for row in map.coeffs:
            dims = [d for d, a in enumerate(row) if a and domain[d] > 1]
            if len(dims) > 1 or any(row[d] < 0 for d in dims):
                return False
            order += dims
        orders.append(order)
    wanted = sorted(d for d in range(len(domain)) if domain[d] > 1)
    return sorted(orders[0]) == sorted(orders[1]) == wanted and orders[0][-1:] == orders[1][-1:]
