"""Meaning of one `loop.nest`.

Scalar code runs vectorised over blocks of the domain of at most `BLOCK` points; the blocks of the
reduction dimensions are combined by the reduction's ufunc.  Floating-point sums are accumulated
in f64 and rounded once.  Sums of products take the path through BLAS in `contraction`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from xdsl.ir import Block, SSAValue

from ... import scalar
from ...constants import Array
from ...loop import (
    ApplyOp,
    ExtractOp,
    IndexOp,
    NestOp,
    ScalarConstantOp,
    ScalarYieldOp,
    reduce_identity,
)
from ...types import numpy_dtype
from .contraction import contract
from .views import read_view, write_view

BLOCK = 1 << 21
"""Points of the domain computed at a time."""

Lookup = Callable[[SSAValue], Array]

UFUNCS = {
    "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    "or": np.logical_or, "and": np.logical_and,
}  # fmt: skip


def run_nest(nest: NestOp, lookup: Lookup, out: Array) -> None:
    """Execute `nest`, reading operands through `lookup`, writing into `out`."""
    maps, domain, parallel = nest.linear_maps, nest.sizes, nest.parallel
    if any(domain[d] == 0 for d in parallel):
        return
    if nest.padded is not None:  # what lies beyond the output is dropped
        bounds = maps[-1].bounds(domain)
        ends = [max(n, high + 1) for n, (_, high) in zip(out.shape, bounds, strict=True)]
        large = np.empty(ends, out.dtype)
        inside = tuple(slice(n) for n in out.shape)
        large[inside] = out
        _run(nest, lookup, large)
        out[...] = large[inside]
    else:
        _run(nest, lookup, out)


def _run(nest: NestOp, lookup: Lookup, out: Array) -> None:
    maps, domain, parallel = nest.linear_maps, nest.sizes, nest.parallel
    target = write_view(out, maps[-1], domain, parallel)
    views = [
        read_view(lookup(value), map, domain, fill)
        for value, map, fill in zip(nest.reads, maps, nest.fill_values, strict=False)
    ]
    split = len(nest.ins)
    epilogue = nest.epilogue_block
    late = [v.squeeze(axis=nest.reduced) for v in views[split:]]
    acc = None if nest.accumulate is not None else contract(nest, views[:split])
    if acc is None:
        acc = _accumulate(nest, views[:split], lookup, target)
    if epilogue is None:
        target[...] = acc
        return
    sizes = [domain[d] for d in parallel]
    position = {d: i for i, d in enumerate(parallel)}
    for block in _blocks(sizes, range(len(sizes))):
        args = [acc[block], *(_cut(v, block) for v in late)]
        target[block] = evaluate_block(epilogue, args, block, position, lookup)


def _accumulate(nest: NestOp, views: list[Array], lookup: Lookup, target: Array) -> Array:
    """The reduced values of the body over the parallel dimensions."""
    domain, parallel, reduced = nest.sizes, nest.parallel, nest.reduced
    dtype = numpy_dtype(nest.accumulator)
    sizes = [domain[d] for d in parallel]
    if nest.reduce.data == "none":
        acc, combine = np.empty(sizes, dtype), None
    else:
        wide = np.dtype(np.float64) if nest.reduce.data == "add" and dtype.kind == "f" else dtype
        combine = UFUNCS[nest.reduce.data]
        identity = reduce_identity(nest.reduce.data, nest.accumulator)
        acc = target.astype(wide) if nest.accumulate is not None else np.full(sizes, identity, wide)
    every = {d: d for d in range(len(domain))}
    for block in _blocks(domain, [*parallel, *reduced]):
        value = evaluate_block(
            nest.body.block, [_cut(v, block) for v in views], block, every, lookup
        )
        at = tuple(block[d] for d in parallel)
        full = [s.stop - s.start for s in block]
        value = np.broadcast_to(value, full)
        if combine is None:
            acc[at] = value
        else:
            with np.errstate(all="ignore"):
                part = combine.reduce(value, axis=reduced, dtype=acc.dtype)
                acc[at] = combine(acc[at], part)
    with np.errstate(all="ignore"):
        return acc.astype(dtype, copy=False)


def evaluate_block(
    block: Block,
    args: Sequence[Array],
    ranges: Sequence[slice],
    axis_of: dict[int, int],
    lookup: Lookup,
) -> Array:
    """Scalar code of a body or epilogue on arrays; `ranges` are the indices of each array axis.

    `axis_of` gives the array axis of a domain dimension.
    """
    values: dict[SSAValue, Array] = dict(zip(block.args, args, strict=True))
    for op in block.ops:
        match op:
            case ApplyOp():
                operands = [values[a] for a in op.args]
                values[op.result] = scalar.evaluate(
                    op.fn.data, operands, op.param_values, op.result.type
                )
            case ScalarConstantOp():
                values[op.result] = np.asarray(op.value.value.data).astype(
                    numpy_dtype(op.result.type)
                )
            case IndexOp():
                axis = axis_of[op.dim.value.data]
                shape = [1] * len(ranges)
                shape[axis] = -1
                values[op.result] = np.arange(
                    ranges[axis].start, ranges[axis].stop, dtype=np.int64
                ).reshape(shape)
            case ExtractOp():
                source = lookup(op.source)
                index = [
                    np.clip(values[i].astype(np.intp), 0, n - 1)
                    for i, n in zip(op.indices, source.shape, strict=True)
                ]
                values[op.result] = source[tuple(index)]
            case ScalarYieldOp():
                return values[op.args[0]]
            case _:
                raise TypeError(f"{op.name} is not scalar code")
    raise TypeError("scalar code must end in loop.yield")


def _blocks(domain: Sequence[int], order: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most `BLOCK` points that tile `domain`; dimensions late in `order` stay whole."""
    chunk = list(domain)
    volume = int(np.prod(chunk, dtype=np.int64))
    for d in order:
        if volume <= BLOCK or chunk[d] == 0:
            break
        rest = volume // chunk[d]
        chunk[d] = max(1, BLOCK // rest)
        volume = rest * chunk[d]
    pieces = [
        [slice(a, min(a + step, extent)) for a in range(0, extent, step)]
        if extent
        else [slice(0, 0)]
        for extent, step in zip(domain, (max(c, 1) for c in chunk), strict=True)
    ]
    return itertools.product(*pieces)


def _cut(view: Array, block: Sequence[slice]) -> Array:
    """The part of a broadcastable view in `block`."""
    return view[tuple(slice(None) if n == 1 else s for n, s in zip(view.shape, block, strict=True))]
