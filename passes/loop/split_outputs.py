"""Divide nests whose result is read part by part, so that each part can be placed by itself.

    loop.nest domain [197, 2304, 768] outs(%qkv)            query, key and value in one product
    loop.nest ins(%qkv at d1, %qkv at d1 + 768)             scores
    loop.nest ins(%scores, %qkv at d1 + 1536)

becomes

    loop.nest domain [197, 768, 768] outs(%q)
    loop.nest domain [197, 768, 768] outs(%k)
    loop.nest domain [197, 768, 768] outs(%v)
    loop.nest ins(%q at d1, %k at d1)
    loop.nest ins(%scores, %v at d1)

For several cores: `distribute` divides each part by its own columns, so that a core that has the
queries of a head has its keys and values as well; in one product these would be those of other
cores.  Products of the NPU only, in parts that are whole tiles of the array's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from xdsl.dialects.builtin import ArrayAttr, ModuleOp
from xdsl.ir import SSAValue

from ...dialects.loop import AllocOp, Linear, NestOp, ReshapeOp
from ...dialects.types import element_of, ints, memref, shape_of
from ..base import CompilerContext, Pass, main_function
from .aliases import aliases
from .segments import device_of_nest
from .tiling.classify import reduction_of

Part = tuple[int, int]
"""Elements [low, high) along an axis."""


@dataclass(frozen=True)
class SplitOutputsPass(Pass):
    """Divide products of which others read parts, on machines of several cores."""

    name = "split-outputs"
    enable: bool = True

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Divide nests in @main."""
        machine = ctx.machine
        if machine is None or machine.cores < 2 or not self.enable:
            return
        for op in list(main_function(module).body.block.ops):
            if isinstance(op, AllocOp) and (nest := _maker(op)) is not None:
                split(op, nest, machine.matrix.columns)


PASS = SplitOutputsPass


def _maker(alloc: AllocOp) -> NestOp | None:
    """The product that alone makes a buffer which only NPU nests read."""
    makers: list[NestOp] = []
    for value in aliases(alloc.result):
        for use in value.uses:
            op = use.operation
            if isinstance(op, ReshapeOp):
                continue
            if not isinstance(op, NestOp) or device_of_nest(op) != "npu":
                return None
            if op.output is value:
                makers.append(op)
    if len(makers) != 1 or makers[0].output is not alloc.result:
        return None
    nest = makers[0]
    multiplies = nest.reduce.data == "add" and reduction_of(nest).kind == "matmul"
    return nest if multiplies and alloc.result not in nest.reads else None


def split(alloc: AllocOp, nest: NestOp, columns: int) -> None:
    """Divide `nest`, which makes `alloc`, along the last axis if it is read in whole `columns`."""
    axis = len(shape_of(alloc.result)) - 1
    dim, parts = _along(nest, axis), read_parts(alloc, axis)
    if dim is None or len(parts) < 2 or any((high - low) % columns for low, high in parts):
        return
    if sum(high - low for low, high in parts) == shape_of(alloc.result)[axis]:
        _rewrite(alloc, nest, axis, dim, parts)


def _along(nest: NestOp, axis: int) -> int | None:
    """The parallel dimension that runs along all of an axis of the output, alone."""
    output = nest.linear_maps[-1]
    row = output.coeffs[axis]
    dims = [d for d, a in enumerate(row) if a and nest.sizes[d] > 1]
    if len(dims) != 1 or row[dims[0]] != 1 or output.consts[axis]:
        return None
    [dim] = dims
    elsewhere = any(other[dim] for k, other in enumerate(output.coeffs) if k != axis)
    whole = nest.sizes[dim] == shape_of(nest.output)[axis]
    return dim if whole and not elsewhere and dim in nest.parallel else None


def read_parts(alloc: AllocOp, axis: int) -> list[Part]:
    """Disjoint parts of an axis, ascending, of which each reader keeps to one; none if unknown."""
    found: list[Part] = []
    units: set[int] = set()
    for value in aliases(alloc.result):
        position = _axis_of(shape_of(alloc.result), axis, shape_of(value))
        for nest, map in _readers(value):
            if position is None:
                return []
            here, unit = position
            low, high = map.bounds(nest.sizes)[here]
            found.append((low * unit, (high + 1) * unit))
            units.add(unit)
    out: list[Part] = []
    for low, high in sorted(found):
        if out and low < out[-1][1]:
            out[-1] = out[-1][0], max(high, out[-1][1])
        else:
            out.append((low, high))
    inside = not out or (out[0][0] >= 0 and out[-1][1] <= shape_of(alloc.result)[axis])
    even = all(end % unit == 0 for part in out for end in part for unit in units)
    return out if inside and even else []


def _readers(value: SSAValue) -> list[tuple[NestOp, Linear]]:
    out: list[tuple[NestOp, Linear]] = []
    for nest in dict.fromkeys(use.operation for use in value.uses):
        if isinstance(nest, NestOp):
            out += [
                (nest, map)
                for map, x in zip(nest.linear_maps, nest.reads, strict=False)
                if x is value
            ]
    return out


def _axis_of(shape: Sequence[int], axis: int, other: Sequence[int]) -> tuple[int, int] | None:
    """Of a reshape, the outermost axis that `axis` has become, and its elements along `axis`."""
    behind = prod(shape[axis + 1 :])
    for k in range(len(other)):
        step = prod(other[k + 1 :])
        if prod(other[k:]) == shape[axis] * behind and step % behind == 0 and other[k] > 1:
            return k, step // behind  # 36 x 64 of 2304: each of the 36 is 64 elements
    return None


def _rewrite(alloc: AllocOp, nest: NestOp, axis: int, dim: int, parts: Sequence[Part]) -> None:
    """Replace a nest and its buffer by one for each part."""
    block, old = nest.parent_block(), alloc.result
    assert block is not None
    buffers: dict[Part, SSAValue] = {}
    for part in parts:
        low, high = part
        shape = list(shape_of(old))
        shape[axis] = high - low
        made = AllocOp(memref(shape, element_of(old), "dram"))
        made.location = alloc.location
        made.attributes |= alloc.attributes
        made.result.name_hint = old.name_hint
        block.insert_op_before(made, nest)
        buffers[part] = made.result
        piece = nest.clone({old: made.result})
        piece.location = nest.location
        piece.attributes.pop("tensor", None)  # it is a part of it
        piece.domain = ints([high - low if d == dim else n for d, n in enumerate(nest.sizes)])
        *reads, output = nest.linear_maps
        maps = [_from(map, dim, low) for map in reads]
        piece.maps = ArrayAttr([map.attr for map in (*maps, output)])
        block.insert_op_before(piece, nest)
    values = aliases(old)
    for value in values:
        position = _axis_of(shape_of(old), axis, shape_of(value))
        for reader in dict.fromkeys(use.operation for use in value.uses):
            if isinstance(reader, NestOp) and reader is not nest and position is not None:
                _redirect(reader, value, *position, buffers)
    for value in reversed(values[1:]):
        _erase(value)
    nest.detach()
    nest.erase()
    alloc.detach()
    alloc.erase()


def _from(map: Linear, dim: int, start: int) -> Linear:
    """`map` of a domain whose dimension `dim` begins at `start`."""
    consts = tuple(c + row[dim] * start for c, row in zip(map.consts, map.coeffs, strict=True))
    return replace(map, consts=consts)


def _redirect(
    reader: NestOp, value: SSAValue, axis: int, unit: int, buffers: dict[Part, SSAValue]
) -> None:
    """Let a nest read the parts of `value`."""
    block = reader.parent_block()
    assert block is not None
    maps = list(reader.linear_maps)
    for i, x in enumerate(reader.reads):
        if x is not value:
            continue
        start = maps[i].bounds(reader.sizes)[axis][0] * unit
        low, high = next(part for part in buffers if part[0] <= start < part[1])
        made, shape = buffers[low, high], list(shape_of(value))
        shape[axis] = (high - low) // unit
        if isinstance(value.owner, ReshapeOp):
            reshape = ReshapeOp(made, memref(shape, element_of(value), "dram"))
            reshape.location = value.owner.location
            reshape.attributes |= value.owner.attributes
            block.insert_op_before(reshape, reader)
            made = reshape.result
        maps[i] = replace(
            maps[i],
            consts=tuple(c - low // unit * (k == axis) for k, c in enumerate(maps[i].consts)),
        )
        reader.operands[i] = made
    reader.maps = ArrayAttr([map.attr for map in maps])


def _erase(value: SSAValue) -> None:
    assert isinstance(value.owner, ReshapeOp)
    value.owner.detach()
    value.owner.erase()
